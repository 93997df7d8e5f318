/** Rights on a cache hit: what is cached goes to whom the origin would give it to, and to nobody else. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { parseChallenges } from '#auth';
import { sha256DigestOf } from '#oci';
import { accessOf, basic, bearer, getToken } from '../support/access.ts';
import { agentHere, makeFolder, pull, someBytes, until } from '../support/in-process.ts';
import { type CallOptions, MANIFEST, type TestOrigin, testOrigin } from '../support/origin.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const NODES = { username: 'nodes', password: 'nodes-pw' };
const USERS = { ann: 'ann-pw', bob: 'bob-pw', ci: 'ci-pw', nodes: NODES.password };
const RULES = [
  'subject=anonymous repositories=library/** actions=pull',
  'subject=user:ann repositories=team/** actions=pull',
  'subject=user:bob repositories=other/** actions=pull',
  'subject=user:ci repositories=** actions=push',
  'subject=user:nodes repositories=** actions=pull',
  'subject=user:nodes actions=join',
];
const ANN = basic('ann', USERS.ann);
const BOB = basic('bob', USERS.bob);

interface Image {
  readonly digest: string;
  readonly layer: string;
  readonly bytes: Buffer;
}

async function guarded(t: Test, flags: Readonly<Record<string, readonly string[]>> = {}) {
  const { access } = await accessOf(await makeFolder(t), USERS, RULES, flags);
  return testOrigin(t, { access });
}

/** Pushes an image of one layer and an empty config as `ci`. */
async function push(origin: TestOrigin, name: string, bytes = someBytes(MIB)): Promise<Image> {
  const headers = basic('ci', USERS.ci);
  const put = async (method: 'POST' | 'PUT', where: string, options: CallOptions): Promise<void> => {
    const answer = await origin.call(method, `/v2/${name}/${where}`, {
      ...options,
      headers: { ...headers, ...options.headers },
    });
    if (answer.status !== 201) throw new Error(`push answered ${answer.status}: ${answer.body}`);
  };
  const config = Buffer.from('{"architecture":"amd64","os":"linux"}');
  for (const blob of [config, bytes]) {
    await put('POST', `blobs/uploads/?digest=${sha256DigestOf(blob)}`, { body: blob });
  }
  const describe = (mediaType: string, blob: Buffer) => ({
    mediaType,
    digest: sha256DigestOf(blob),
    size: blob.length,
  });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: describe('application/vnd.oci.image.config.v1+json', config),
    layers: [describe('application/vnd.oci.image.layer.v1.tar', bytes)],
  });
  await put('PUT', 'manifests/v1', { body: manifest, headers: { 'content-type': MANIFEST } });
  return { digest: sha256DigestOf(Buffer.from(manifest)), layer: sha256DigestOf(bytes), bytes };
}

t.test('a cached private image: refused without credentials, served from the cache with them', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES });
  const image = await push(origin, 'team/app');
  const at = (part: string, name = 'team/app'): string => `${agent.url}/v2/${name}/${part}`;
  const parts = ['manifests/v1', `manifests/${image.digest}`, `blobs/${image.layer}`, 'tags/list'];

  for (const part of parts) t.equal((await pull(at(part), ANN)).status, 200, part);
  // The layer, and the config, which comes with the manifest.
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 2);
  const cached = await pull(at(`blobs/${image.layer}`), ANN);
  t.ok(cached.bytes.equals(image.bytes));
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'cache' }), MIB);

  for (const part of parts) {
    const anonymous = await pull(at(part));
    t.equal(anonymous.status, 401, part);
    const [challenge] = parseChallenges(anonymous.headers.get('www-authenticate') ?? '');
    t.match(challenge, {
      scheme: 'bearer',
      parameters: { realm: `${origin.url}/v2/auth`, scope: 'repository:team/app:pull' },
    });
    t.equal((await pull(at(part), BOB)).status, 403, `${part} for another user`);
    t.equal((await pull(at(part), basic('ann', 'wrong'))).status, 401, `${part} with a wrong password`);
  }
  t.equal((await fetch(at(`blobs/${image.layer}`), { method: 'HEAD' })).status, 401);
  t.equal((await pull(at(`blobs/${image.layer}`), { range: 'bytes=0-9' })).status, 401);

  // The token that the challenge leads to.
  const { token } = await getToken(origin, ['ann', USERS.ann], 'repository:team/app:pull');
  t.ok((await pull(at(`blobs/${image.layer}`), bearer(token))).bytes.equals(image.bytes));
  const other = await getToken(origin, ['bob', USERS.bob], 'repository:team/app:pull');
  t.equal((await pull(at(`blobs/${image.layer}`), bearer(other.token))).status, 403);
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'cache' }), 2 * MIB);
});

t.test('small ranges of a private image, from the origin and from memory', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES });
  const image = await push(origin, 'team/app', someBytes(3 * MIB));
  const range = { range: `bytes=${MIB}-${MIB + 64 * KIB - 1}` };
  const url = `${agent.url}/v2/team/app/blobs/${image.layer}`;
  const refused = async (what: string): Promise<void> => {
    t.equal((await pull(url, range)).status, 401, what);
    t.equal((await pull(url, { ...range, ...BOB })).status, 403, `${what}, to another user`);
  };
  await refused('not here yet');
  t.equal(await agent.metric('shoal_fetch_bytes_total'), 0);
  for (const from of ['origin', 'memory']) {
    const read = await pull(url, { ...range, ...ANN });
    t.equal(read.status, 206);
    t.ok(read.bytes.equals(image.bytes.subarray(MIB, MIB + 64 * KIB)));
    t.equal(await agent.metric('shoal_lazy_reads_total', { from }), 1);
    await refused('in memory');
  }
});

t.test('a digest alone opens nothing: the repository must hold it', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES });
  const secret = await push(origin, 'team/app');
  const own = await push(origin, 'other/app');
  for (const part of ['manifests/v1', `blobs/${secret.layer}`]) {
    t.equal((await pull(`${agent.url}/v2/team/app/${part}`, ANN)).status, 200);
  }
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  t.equal((await pull(`${agent.url}/v2/other/app/manifests/v1`, BOB)).status, 200);
  t.equal((await pull(`${agent.url}/v2/other/app/blobs/${own.layer}`, BOB)).status, 200);
  for (const part of [`blobs/${secret.layer}`, `manifests/${secret.digest}`]) {
    t.equal((await pull(`${agent.url}/v2/other/app/${part}`, BOB)).status, 404, part);
    t.equal((await pull(`${agent.url}/v2/library/none/${part}`)).status, 404, `${part}, anonymous`);
  }
});

t.test('a name that stands for two repositories opens only the one that the client may read', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES });
  // `library/…?ns=team` is no host; `other.test/team/app` may mean `team/app`, which bob may not read.
  const secret = await push(origin, 'team/app');
  const place = `${agent.url}/v2/team/app`;
  for (const part of ['manifests/v1', `blobs/${secret.layer}`]) {
    t.equal((await pull(`${place}/${part}?ns=other.test`, ANN)).status, 200);
    t.equal((await pull(`${place}/${part}?ns=other.test`, BOB)).status, 403);
    t.equal((await pull(`${agent.url}/v2/other.test/team/app/${part}`, BOB)).status, 403);
  }
});

t.test('one question a pull, and none while the verdict counts', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES });
  const image = await push(origin, 'team/app');
  const asked = (result: string): Promise<number> => agent.metric('shoal_rights_checks_total', { result });
  for (let round = 0; round < 3; round += 1) {
    for (const part of [`manifests/${image.digest}`, `blobs/${image.layer}`]) {
      t.equal((await pull(`${agent.url}/v2/team/app/${part}`, ANN)).status, 200);
    }
  }
  t.equal(await asked('granted'), 0, 'the manifest was the question');
  t.equal(await asked('remembered'), 5);
  const strict = await agentHere(t, [origin.url], {
    credentialsFor: () => NODES,
    rights: { verdictMs: 0 },
  });
  const url = `${strict.url}/v2/team/app/blobs/${image.layer}`;
  for (let round = 0; round < 3; round += 1) t.equal((await pull(url, ANN)).status, 200);
  t.equal(await strict.metric('shoal_rights_checks_total', { result: 'granted' }), 3, 'asked each time');
});

t.test('rights that were taken away', async (t) => {
  const folder = await makeFolder(t);
  const { access } = await accessOf(folder, USERS, RULES);
  const origin = await testOrigin(t, { access });
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES, rights: { verdictMs: 1 } });
  const image = await push(origin, 'team/app');
  const url = `${agent.url}/v2/team/app/blobs/${image.layer}`;
  t.equal((await pull(url, ANN)).status, 200);
  const less = await accessOf(folder, USERS, RULES.slice(2));
  await origin.origin.reload({ access: less.access });
  t.equal((await pull(url, ANN)).status, 403);
});

t.test('while the origin is down a recent verdict counts, and nothing else', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES, rights: { verdictMs: 0 } });
  const forgetful = await agentHere(t, [origin.url], {
    credentialsFor: () => NODES,
    rights: { verdictMs: 0, staleMs: 0 },
  });
  const image = await push(origin, 'team/app');
  const parts = ['manifests/v1', `manifests/${image.digest}`, `blobs/${image.layer}`];
  for (const { url, metric } of [agent, forgetful]) {
    for (const part of parts) await pull(`${url}/v2/team/app/${part}`, ANN);
    await until(async () => (await metric('shoal_cache_blobs')) === 1);
  }
  await origin.origin.close();
  for (const part of parts) {
    t.equal((await pull(`${agent.url}/v2/team/app/${part}`, ANN)).status, 200, part);
    for (const headers of [{}, BOB, basic('ann', 'new')]) {
      t.equal((await pull(`${agent.url}/v2/team/app/${part}`, headers)).status, 503, part);
    }
    t.equal((await pull(`${forgetful.url}/v2/team/app/${part}`, ANN)).status, 503, 'it is too old');
  }
  t.equal((await pull(`${agent.url}/v2/`)).status, 200, 'a client without a log-in may try');
  const again = await agent.restart();
  const late = await pull(`${again.url}/v2/team/app/blobs/${image.layer}`, ANN);
  t.equal(late.status, 503, 'verdicts do not survive a restart');
});

t.test('what everybody may pull needs no log-in, also while the origin is down', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES, rights: { verdictMs: 0 } });
  const image = await push(origin, 'library/app');
  const url = `${agent.url}/v2/library/app/blobs/${image.layer}`;
  t.equal((await pull(url)).status, 200);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  await origin.origin.close();
  t.equal((await pull(url)).status, 200);
});

t.test('GET /v2/ is answered as the origin answers it', async (t) => {
  const origin = await guarded(t, { 'access-challenge': ['basic'] });
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES });
  const challenge = /^Basic realm=/;
  const first = await pull(`${agent.url}/v2/`);
  t.equal(first.status, 401);
  t.match(first.headers.get('www-authenticate'), challenge);
  t.equal((await pull(`${agent.url}/v2/`, ANN)).status, 200);
  await origin.origin.close();
  const later = await agent.restart();
  t.equal((await pull(`${later.url}/v2/`)).status, 200, 'nothing is known');
});

t.test('an agent without credentials fetches with those of its clients', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url]);
  for (const size of [MIB, 10 * KIB]) {
    const image = await push(origin, 'team/app', someBytes(size));
    t.equal((await pull(`${agent.url}/v2/team/app/manifests/v1`)).status, 401);
    t.equal((await pull(`${agent.url}/v2/team/app/manifests/v1`, ANN)).status, 200);
    const blob = await pull(`${agent.url}/v2/team/app/blobs/${image.layer}`, ANN);
    t.ok(blob.bytes.equals(image.bytes), `${size} bytes`);
    t.equal((await pull(`${agent.url}/v2/team/app/blobs/${image.layer}`)).status, 401);
  }
});

t.test('rights.mode agent: every client may pull what the agent may', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], {
    credentialsFor: () => NODES,
    rights: { mode: 'agent' },
  });
  const image = await push(origin, 'team/app');
  for (const part of ['manifests/v1', `blobs/${image.layer}`]) {
    t.equal((await pull(`${agent.url}/v2/team/app/${part}`)).status, 200);
    t.equal((await pull(`${agent.url}/v2/team/app/${part}`, basic('who', 'knows'))).status, 200);
  }
  t.equal((await pull(`${agent.url}/v2/`)).status, 200);
});

t.test('an open origin costs one question, and one that becomes guarded is noticed', async (t) => {
  const data = await makeFolder(t);
  const folder = await makeFolder(t);
  const open = await testOrigin(t, { data });
  const port = Number(new URL(open.url).port);
  const agent = await agentHere(t, [open.url]);
  const image = await push(open, 'team/app');
  const url = `${agent.url}/v2/team/app/blobs/${image.layer}`;
  for (let round = 0; round < 3; round += 1) t.equal((await pull(url)).status, 200);
  t.equal(await agent.metric('shoal_rights_checks_total'), 0);
  const status = async (): Promise<unknown> =>
    JSON.parse(String((await pull(`${agent.url}/api/v1/status`)).bytes));
  t.match(await status(), { origins: [{ open: true }], rights: { mode: 'client' } });

  await open.origin.close();
  const later = await agent.restart();
  t.equal((await pull(url.replace(agent.url, later.url))).status, 200, 'open as far as anybody knows');
  const { access } = await accessOf(folder, USERS, RULES);
  await testOrigin(t, { data, access, listen: { host: '127.0.0.1', port } });
  await until(async () => (await pull(url.replace(agent.url, later.url))).status === 401);
});

t.test('no credential is kept on the disk or shown', async (t) => {
  const origin = await guarded(t);
  const agent = await agentHere(t, [origin.url], { credentialsFor: () => NODES });
  const image = await push(origin, 'team/app');
  await pull(`${agent.url}/v2/team/app/manifests/v1`, ANN);
  await pull(`${agent.url}/v2/team/app/blobs/${image.layer}`, ANN);
  const secrets = [USERS.ann, ANN['authorization'] ?? 'none', NODES.password];
  for (const where of ['status', 'pulls']) {
    const text = String((await pull(`${agent.url}/api/v1/${where}`)).bytes);
    for (const secret of secrets) t.notOk(text.includes(secret), where);
  }
  await agent.close();
  for (const name of await readdir(path.join(agent.data, 'db'))) {
    const bytes = await readFile(path.join(agent.data, 'db', name));
    for (const secret of secrets) t.notOk(bytes.includes(secret), name);
  }
});
