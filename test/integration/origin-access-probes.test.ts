/**
 * Tries to reach what is private without the right, by every way in that names a blob, a repository or a
 * swarm. Each probe is made beside one that is allowed, so that a broken request does not pass for a refusal.
 */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import t, { type Test } from 'tap';
import { sha256DigestOf } from '#oci';
import { createLogger } from '#telemetry';
import { parseMetainfo } from '#torrent';
import { openKeys } from '../../origin/access/keys.ts';
import { signPasskey } from '../../origin/access/passkey.ts';
import { accessOf, basic, bearer, getToken, writeHtpasswd } from '../support/access.ts';
import { type Answer, MANIFEST, type TestOrigin, temporaryFolder, testOrigin } from '../support/origin.ts';

t.setTimeout(180_000);

const ANN = ['ann', 'a password'] as const;
const EVE = ['eve', 'e password'] as const;
const ROOT = ['root', 'r password'] as const;
const USERS = Object.fromEntries([ANN, EVE, ROOT]);
/** Ann's are team/**, Eve's are open/**; nobody but root reads secret/**, whatever it is called. */
const RULES = [
  'subject=anonymous repositories=public/** actions=pull',
  'subject=user:ann repositories=team/** actions=push,delete',
  'subject=user:eve repositories=open/**,docker.io/open/** actions=push,delete,catalog',
  'subject=user:root actions=*',
];

async function guarded(t: Test) {
  const folder = await temporaryFolder(t);
  const { access, htpasswd } = await accessOf(folder, USERS, RULES);
  const origin = await testOrigin(t, { access, udpListen: { host: '127.0.0.1', port: 0 } });
  return { origin, access, htpasswd };
}

const as = (user: readonly [string, string]) => ({ headers: basic(...user) });

async function push(
  origin: TestOrigin,
  name: string,
  bytes: Uint8Array = randomBytes(1000),
): Promise<string> {
  const digest = sha256DigestOf(bytes);
  const where = `/v2/${name}/blobs/uploads/?digest=${digest}`;
  const answer = await origin.call('POST', where, { body: bytes, ...as(ROOT) });
  if (answer.status !== 201) throw new Error(`push answered ${answer.status}: ${answer.body}`);
  return digest;
}

/** An image of one layer, tagged v1. */
async function pushImage(origin: TestOrigin, name: string, extra: object = {}) {
  const layer = await push(origin, name);
  const body = manifestOf([layer], extra);
  const answer = await put(origin, name, 'v1', body, ROOT);
  if (answer.status !== 201) throw new Error(`manifest answered ${answer.status}: ${answer.body}`);
  return { layer, manifest: answer.headers['docker-content-digest'] ?? '', body };
}

function manifestOf([config, ...layers]: readonly string[], extra: object = {}): string {
  const describe = (digest: string | undefined) => ({ mediaType: 'application/x', digest, size: 1000 });
  const content = { schemaVersion: 2, mediaType: MANIFEST, config: describe(config) };
  return JSON.stringify({ ...content, layers: layers.map(describe), ...extra });
}

function put(
  origin: TestOrigin,
  name: string,
  reference: string,
  body: string,
  user: readonly [string, string],
) {
  return origin.call('PUT', `/v2/${name}/manifests/${reference}`, {
    body,
    headers: { 'content-type': MANIFEST, ...basic(...user) },
  });
}

/** Sends the path as it is written: `fetch` would resolve dots, and slashes at its beginning. */
async function asIs(
  { url }: TestOrigin,
  method: 'GET' | 'HEAD',
  where: string,
  user: readonly [string, string] | undefined,
): Promise<{ status: number; digest: unknown }> {
  const { hostname, port } = new URL(url);
  const sent = http.request({ hostname, port, method, path: where, headers: user ? basic(...user) : {} });
  sent.end();
  const [answer] = (await once(sent, 'response')) as [http.IncomingMessage];
  answer.resume();
  await once(answer, 'end');
  return { status: answer.statusCode ?? 0, digest: answer.headers['docker-content-digest'] };
}

/** Connects and asks over UDP (BEP 15); answers with the action and the text of what came. */
async function askUdp({ origin }: TestOrigin, action: 1 | 2, infoHash: string): Promise<[number, string]> {
  const socket = createSocket('udp4');
  const ask = async (message: Buffer): Promise<Buffer> => {
    socket.send(message, origin.udpAddress?.port ?? 0, '127.0.0.1');
    return ((await once(socket, 'message', { signal: AbortSignal.timeout(30_000) })) as [Buffer])[0];
  };
  try {
    const connected = await ask(Buffer.from('00000417271019800000000000000001', 'hex'));
    const head = Buffer.concat([connected.subarray(8, 16), Buffer.from([0, 0, 0, action, 0, 0, 0, 2])]);
    const hash = Buffer.from(infoHash, 'hex');
    const rest = Buffer.alloc(62);
    rest.writeUInt16BE(1234, 60);
    const answer = await ask(Buffer.concat([head, hash, ...(action === 1 ? [rest] : [])]));
    return [answer.readUInt32BE(), answer.toString('utf8', 8)];
  } finally {
    socket.close();
  }
}

const statusOf = async (answer: Promise<Answer>): Promise<number> => (await answer).status;

t.test('no spelling of a private name is readable: prefixes, ns, encodings, case, slashes', async (t) => {
  const { origin } = await guarded(t);
  const { layer, manifest } = await pushImage(origin, 'secret/app');
  const places = [
    `blobs/${layer}`,
    `manifests/${manifest}`,
    'manifests/v1',
    'tags/list',
    `_shoal/torrents/${layer}`,
  ];
  for (const place of places) {
    t.equal(await statusOf(origin.call('GET', `/v2/secret/app/${place}`, as(ROOT))), 200, place);
    for (const method of ['GET', 'HEAD'] as const) {
      for (const where of [
        `/v2/secret/app/${place}`,
        `/v2/secret/app/${place}?ns=docker.io`,
        `/v2/secret/app/${place}?ns=`,
        `/v2/secret/app/${place}?ns=open`,
        `/v2/docker.io/secret/app/${place}`,
        `/v2/localhost/secret/app/${place}`,
        `/v2/a.b/secret/app/${place}?ns=c.d`,
        `/v2/secret%2Fapp/${place}`,
        `/v2/%73ecret/app/${place}`,
        `/v2/open/..%2f..%2fsecret/app/${place}`,
        `/v2/open/../secret/app/${place}`,
        `/v2//secret/app/${place}`,
        `/v2/./secret/app/${place}`,
        `//v2/secret/app/${place}`,
        `/V2/secret/app/${place}`,
        `/v2/SECRET/app/${place}`,
        `/v2/secret/app/${place}/`,
        `/v2/app/${place}?ns=secret`,
        `/v2/open/x/${place}?ns=secret/app`,
        `/v2/open/x/${place}?from=secret/app&repository=secret/app&scope=repository:secret/app:pull`,
        `/v2/open/secret/app/${place}`,
        `/v2/library/secret/app/${place}`,
      ]) {
        for (const user of [EVE, undefined]) {
          const { status, digest } = await asIs(origin, method, where, user);
          t.notOk(status < 400 || digest, `${method} ${where} as ${user?.[0] ?? 'nobody'}: ${status}`);
        }
      }
    }
  }
});

t.test('what stands for two names is read from the one that may be read', async (t) => {
  const { origin } = await guarded(t);
  const secret = await pushImage(origin, 'open/app');
  const { layer } = await pushImage(origin, 'docker.io/secret/app');
  t.equal(await statusOf(origin.call('GET', `/v2/docker.io/open/app/blobs/${secret.layer}`, as(EVE))), 200);
  t.equal(await statusOf(origin.call('GET', `/v2/secret/app/blobs/${layer}?ns=docker.io`, as(EVE))), 403);
  t.equal(await statusOf(origin.call('GET', `/v2/secret/app/blobs/${layer}?ns=docker.io`, as(ROOT))), 200);
  const { token, scope } = await getToken(origin, EVE, 'repository:docker.io/secret/app:*');
  t.equal(scope, '');
  t.equal(
    await statusOf(
      origin.call('GET', `/v2/secret/app/blobs/${layer}?ns=docker.io`, { headers: bearer(token) }),
    ),
    403,
  );
});

t.test('a write is only ever to the name in the path', async (t) => {
  const { origin } = await guarded(t);
  const { layer, manifest, body } = await pushImage(origin, 'secret/app');
  for (const where of [
    '/v2/docker.io/secret/app/blobs/uploads/',
    '/v2/secret/app/blobs/uploads/?ns=open.io',
    '/v2/app/blobs/uploads/?ns=secret.x',
    `/v2/secret/app/blobs/uploads/?mount=${layer}&from=open/app`,
  ]) {
    t.equal(await statusOf(origin.call('POST', where, as(EVE))), 403, where);
  }
  t.equal((await put(origin, 'secret/app', 'v2', body, EVE)).status, 403);
  for (const where of [`manifests/${manifest}`, 'manifests/v1', `blobs/${layer}`]) {
    t.equal(await statusOf(origin.call('DELETE', `/v2/secret/app/${where}`, as(EVE))), 403, where);
    // Her own repository does not have it, and what it stands for is not looked at.
    const own = await origin.call('DELETE', `/v2/docker.io/open/app/${where}?ns=secret.x`, as(EVE));
    t.equal(own.status, 404, where);
    t.equal(await statusOf(origin.call('HEAD', `/v2/secret/app/${where}`, as(ROOT))), 200, where);
  }
  await pushImage(origin, 'open/app');
  t.equal(await statusOf(origin.call('DELETE', '/v2/docker.io/open/app/manifests/v1', as(EVE))), 404);
  t.equal(await statusOf(origin.call('HEAD', '/v2/open/app/manifests/v1', as(EVE))), 200);
  t.equal(await statusOf(origin.call('DELETE', '/v2/open/app/manifests/v1', as(EVE))), 202);
});

t.test('deleting a tag needs the right to delete, not only to push', async (t) => {
  const { origin } = await guarded(t);
  await pushImage(origin, 'team/app');
  const { token } = await getToken(origin, ANN, 'repository:team/app:pull,push');
  const remove = (headers: Record<string, string>) =>
    origin.call('DELETE', '/v2/team/app/manifests/v1', { headers });
  t.equal((await remove(bearer(token))).status, 401);
  t.equal((await remove(basic(...EVE))).status, 403);
  t.equal((await remove({})).status, 401);
  t.equal(
    (await remove(bearer((await getToken(origin, ANN, 'repository:team/app:delete')).token))).status,
    202,
  );
});

t.test('a mount from a private repository, however it is asked for, is an upload', async (t) => {
  const { origin } = await guarded(t);
  const secret = await push(origin, 'secret/app');
  const absent = sha256DigestOf(randomBytes(8));
  await push(origin, 'open/lib');
  const mount = async (digest: string, rest: string, headers = basic(...EVE)) => {
    const where = `/v2/open/app/blobs/uploads/?mount=${digest}${rest}`;
    const { status, headers: answered, body } = await origin.call('POST', where, { headers });
    return [status, Object.keys(answered).sort().join(), body.length];
  };
  const { token } = await getToken(
    origin,
    EVE,
    'repository:open/app:pull,push',
    'repository:secret/app:pull',
  );
  for (const rest of [
    '&from=secret/app',
    '',
    '&from=',
    '&from=open/lib&from=secret/app',
    '&from=secret/app&from=open/lib',
    '&from=docker.io/secret/app',
    '&from=secret%2Fapp',
  ]) {
    const asked = await mount(secret, rest);
    t.equal(asked[0], 202, rest);
    t.same(asked, await mount(absent, rest), `${rest}: as if it were not there`);
    t.same(await mount(secret, rest, bearer(token)), asked, `${rest}: with a token`);
  }
  t.equal(
    await statusOf(origin.call('HEAD', `/v2/open/app/blobs/${secret}`, as(EVE))),
    404,
    'nothing was linked',
  );
});

t.test('whether a blob is held elsewhere is not told by a manifest, a delete or an upload', async (t) => {
  const { origin } = await guarded(t);
  const secret = await push(origin, 'secret/app');
  const own = await push(origin, 'open/app');
  const absent = sha256DigestOf(randomBytes(8));
  const missingOf = async (...digests: string[]): Promise<unknown> => {
    const answer = await put(origin, 'open/app', 'v1', manifestOf(digests), EVE);
    t.equal(answer.status, 404);
    t.equal(answer.errorCode(), 'MANIFEST_BLOB_UNKNOWN');
    return (answer.json() as { errors: { detail: unknown }[] }).errors[0]?.detail;
  };
  t.same(await missingOf(own, secret, absent), { missing: [secret, absent] }, 'both are unknown here');
  t.same(await missingOf(absent, secret), { missing: [absent, secret] });
  t.same(await missingOf(secret), { missing: [secret] });
  const gone = async (digest: string) =>
    (await origin.call('DELETE', `/v2/open/app/blobs/${digest}`, as(EVE))).body
      .toString()
      .replaceAll(digest, '');
  t.equal(await gone(secret), await gone(absent));
  const head = async (digest: string) => {
    const answer = await origin.call('HEAD', `/v2/open/app/blobs/${digest}`, as(EVE));
    return [answer.status, answer.headers['content-length'], answer.headers['docker-content-digest']];
  };
  t.same((await head(secret))[0], 404);
  t.equal((await head(secret))[2], (await head(absent))[2]);
  const empty = (digest: string) =>
    origin.call('POST', `/v2/open/app/blobs/uploads/?digest=${digest}`, as(EVE));
  t.same([(await empty(secret)).status, (await empty(absent)).status], [400, 400], 'without the bytes');
});

t.test('an upload belongs to its repository', async (t) => {
  const { origin } = await guarded(t);
  const bytes = randomBytes(100);
  const begun = await origin.call('POST', '/v2/team/app/blobs/uploads/', as(ANN));
  const location = begun.headers['location'] ?? '';
  const session = location.slice(location.lastIndexOf('/') + 1);
  t.match(session, /^[\w-]{22,}$/, 'it cannot be guessed');
  const chunk = { body: bytes, ...as(EVE) };
  const stolen = `/v2/open/app/blobs/uploads/${session}`;
  const digest = sha256DigestOf(bytes);
  t.equal(await statusOf(origin.call('PATCH', location, { body: bytes, ...as(ANN) })), 202);
  for (const [method, query] of [
    ['GET', ''],
    ['PATCH', ''],
    ['PUT', `?digest=${digest}`],
    ['DELETE', ''],
  ] as const) {
    const options = method === 'GET' || method === 'DELETE' ? as(EVE) : chunk;
    const other = await origin.call(method, `${location}${query}`, options);
    t.equal(other.status, 403, `${method} where she has no right`);
    const here = await origin.call(method, `${stolen}${query}`, options);
    t.match([here.status, here.errorCode()], [404, 'BLOB_UPLOAD_UNKNOWN'], `${method} in her repository`);
    const missing = await origin.call(method, `${stolen.slice(0, -4)}zzzz${query}`, options);
    t.same(
      [missing.status, missing.errorCode()],
      [here.status, here.errorCode()],
      'as one that is not there',
    );
    t.equal(await statusOf(origin.call(method, `${location}${query}`)), 401, `${method} as nobody`);
  }
  t.equal(await statusOf(origin.call('PUT', `${location}?digest=${digest}`, as(ANN))), 201, 'undisturbed');
});

t.test('the catalogue tells of what one may pull, and of nothing else', async (t) => {
  const { origin } = await guarded(t);
  const names = ['aaa', 'open/a', 'open/b', 'private', 'open/c', 'secret/a', 'secret/b', 'zzz'];
  for (const name of names) await push(origin, name);
  const list = async (query: string, headers = basic(...EVE)) => {
    const answer = await origin.call('GET', `/v2/_catalog${query}`, { headers });
    t.equal(answer.status, 200, query);
    const { repositories } = answer.json() as { repositories: string[] };
    return { repositories, link: answer.headers['link'] };
  };
  t.same(await list(''), { repositories: ['open/a', 'open/b', 'open/c'], link: undefined });
  t.same(await list('?n=2'), {
    repositories: ['open/a', 'open/b'],
    link: '</v2/_catalog?n=2&last=open%2Fb>; rel="next"',
  });
  t.same(
    await list('?n=1&last=open/b'),
    { repositories: ['open/c'], link: undefined },
    'no word of what follows',
  );
  t.same(await list('?n=1&last=secret/a'), { repositories: [], link: undefined });
  t.same((await list('?n=2', basic(...ROOT))).repositories, ['aaa', 'open/a']);
  const { token } = await getToken(origin, EVE, 'registry:catalog:*');
  t.same(
    (await list('', bearer(token))).repositories,
    ['open/a', 'open/b', 'open/c'],
    'a token lists the same',
  );
  t.equal(await statusOf(origin.call('GET', '/v2/_catalog', as(ANN))), 403);
  t.equal(await statusOf(origin.call('GET', '/v2/_catalog')), 401);
  const pull = await getToken(origin, EVE, 'repository:open/a:pull');
  t.equal(await statusOf(origin.call('GET', '/v2/_catalog', { headers: bearer(pull.token) })), 401);
  t.equal(
    await statusOf(origin.call('GET', '/v2/open/a/tags/list', { headers: bearer(token) })),
    401,
    'a token for the catalogue opens no repository',
  );
});

t.test('referrers are those of one repository', async (t) => {
  const { origin } = await guarded(t);
  const { manifest } = await pushImage(origin, 'open/app');
  const subject = { mediaType: MANIFEST, digest: manifest, size: 1 };
  await pushImage(origin, 'secret/signatures', { subject, artifactType: 'application/secret' });
  const own = await pushImage(origin, 'open/app', { subject, artifactType: 'application/own' });
  const list = async (name: string, query = '') => {
    const answer = await origin.call('GET', `/v2/${name}/referrers/${manifest}${query}`, as(EVE));
    const { manifests } = answer.json() as { manifests?: { digest: string }[] };
    return [answer.status, manifests?.map(({ digest }) => digest)];
  };
  t.same(await list('open/app'), [200, [own.manifest]]);
  t.same(await list('open/app', '?ns=secret.x&artifactType=application/secret'), [200, []]);
  t.same(await list('docker.io/open/other'), [200, []]);
  t.same(await list('secret/signatures'), [403, undefined]);
  t.same(await list('docker.io/secret/signatures'), [403, undefined]);
});

t.test(
  'scopes: repeated, in one text, over-long, malformed, of things that are no repositories',
  async (t) => {
    const { origin } = await guarded(t);
    const scopeOf = async (user: readonly [string, string], ...scopes: string[]) =>
      (await getToken(origin, user, ...scopes)).scope;
    t.equal(
      await scopeOf(EVE, 'repository:open/a:pull repository:open/b:push', 'repository:open/a:pull'),
      'repository:open/a:pull repository:open/b:push',
      'either way of sending several, each once',
    );
    for (const scope of [
      'repository:secret/app:*',
      'repository:secret/app:pull,push,delete,*,manage',
      'repository:*:pull',
      'repository:**:*',
      'repository:open/*:pull',
      'repository:open/../secret/app:pull',
      'repository:open/a/:pull',
      'repository:OPEN/a:pull',
      'repository:open/a,secret/app:pull',
      'repository:open/a:pull:secret/app',
      `repository:open/${'a'.repeat(300)}:pull`,
      `repository:open/${'a/'.repeat(2000)}a:pull`,
      'repository:open/a:PULL',
      'repository:open/a:',
      'registry:*:*',
      'registry:catalog/:*',
      'registry:secret/app:*',
      'origin:manage:*',
      '*:*:*',
    ]) {
      t.equal(await scopeOf(EVE, scope), '', scope.slice(0, 60));
    }
    const many = Array.from({ length: 500 }, (_, n) => `repository:open/${'x'.repeat(200)}${n}:pull`);
    const { token, scope } = await getToken(origin, EVE, ...many.slice(0, 40));
    t.ok(scope.split(' ').length > 10 && scope.split(' ').length <= 32, 'some, not all');
    t.equal(
      await statusOf(origin.call('GET', '/v2/', { headers: bearer(token) })),
      200,
      'the token fits a header',
    );
    const form = new URLSearchParams({
      grant_type: 'password',
      username: EVE[0],
      password: EVE[1],
      scope: many.join(' '),
    });
    t.equal(
      await statusOf(origin.call('POST', '/v2/auth', { body: form.toString() })),
      400,
      'a form has its bound',
    );
  },
);

t.test('a passkey opens one blob of one repository for one use, while its user could', async (t) => {
  const { origin, access, htpasswd } = await guarded(t);
  const bytes = randomBytes(400_000);
  const digest = await push(origin, 'team/app', bytes);
  await push(origin, 'team/other', bytes);
  await push(origin, 'secret/app', bytes);
  const sibling = await push(origin, 'team/app');
  const metainfo = async (user: readonly [string, string]) =>
    parseMetainfo((await origin.call('GET', `/v2/team/app/_shoal/torrents/${digest}`, as(user))).body);
  const { infoHash, sources } = await metainfo(ANN);
  const seed = new URL(sources.webSeeds[0] ?? '');
  const announce = new URL(sources.announce[0] ?? '');
  const [blobKey = '', announceKey = ''] = [seed, announce].map(
    (url) => url.searchParams.get('passkey') ?? '',
  );
  const get = (where: string, method: 'GET' | 'HEAD' | 'DELETE' | 'PUT' = 'GET') =>
    statusOf(origin.call(method, where));
  t.equal(await get(`${seed.pathname}?passkey=${blobKey}`), 200);
  t.equal(await get(`${seed.pathname}?passkey=${blobKey}`, 'HEAD'), 200);
  t.equal(await get(`${seed.pathname}?ns=docker.io&passkey=${blobKey}`), 200, 'the same blob');
  for (const where of [
    `${seed.pathname}?passkey=${announceKey}`,
    `${seed.pathname}?passkey=`,
    `${seed.pathname}?passkey=x&passkey=${blobKey}`,
    `/v2/team/other/blobs/${digest}?passkey=${blobKey}`,
    `/v2/secret/app/blobs/${digest}?passkey=${blobKey}`,
    `/v2/docker.io/team/app/blobs/${digest}?passkey=${blobKey}`,
    `/v2/app/blobs/${digest}?ns=team&passkey=${blobKey}`,
    `/v2/team/app/blobs/${sibling}?passkey=${blobKey}`,
    `/v2/team/app/blobs/${digest.toUpperCase()}?passkey=${blobKey}`,
    `/v2/team/app/blobs/${digest}%00?passkey=${blobKey}`,
    `/v2/team/app/_shoal/torrents/${digest}?passkey=${blobKey}`,
    `/v2/team/app/manifests/${digest}?passkey=${blobKey}`,
    `/v2/team/app/tags/list?passkey=${blobKey}`,
    `/v2/_catalog?passkey=${blobKey}`,
    `/api/v1/status?passkey=${blobKey}`,
    `/metrics?passkey=${announceKey}`,
  ]) {
    t.ok((await get(where)) >= 400, where);
  }
  t.equal(await get(`${seed.pathname}?passkey=${blobKey}`, 'DELETE'), 401);
  t.equal(await get(`/v2/team/app/blobs/uploads/?digest=${digest}&passkey=${blobKey}`, 'PUT'), 405);

  const hash = (hex: string) => hex.replace(/../g, '%$&');
  const peer = `&peer_id=${hash('ab'.repeat(20))}&port=1234&left=1`;
  const ask = async (where: string) => (await origin.call('GET', where)).body.toString('latin1');
  const other = parseMetainfo(
    (await origin.call('GET', `/v2/team/app/_shoal/torrents/${sibling}`, as(ANN))).body,
  ).infoHash;
  t.match(await ask(`/announce?info_hash=${hash(infoHash)}${peer}&passkey=${announceKey}`), /8:interval/);
  for (const query of [
    `info_hash=${hash(infoHash)}${peer}`,
    `info_hash=${hash(infoHash)}${peer}&passkey=${blobKey}`,
    `info_hash=${hash(other)}${peer}&passkey=${announceKey}`,
    `info_hash=${hash(infoHash)}&info_hash=${hash(other)}${peer}&passkey=${announceKey}`,
    `info_hash=${hash(other)}&info_hash=${hash(infoHash)}${peer}&passkey=${announceKey}`,
    `info_hash=${hash(infoHash)}${peer}&passkey=x&passkey=${announceKey}`,
  ]) {
    t.match(await ask(`/announce?${query}`), /^d14:failure reason/, query);
  }
  const scrape = await ask(
    `/scrape?info_hash=${hash(other)}&info_hash=${hash(infoHash)}&passkey=${announceKey}`,
  );
  t.match(scrape, /5:files/);
  const raw = Buffer.from(scrape, 'latin1').toString('hex');
  t.ok(raw.includes(infoHash) && !raw.includes(other), 'a scrape is answered for the blob of the key only');
  t.match(await ask(`/scrape?info_hash=${hash(other)}&passkey=${announceKey}`), /^d14:failure reason/);
  t.match(await ask(`/scrape?passkey=${announceKey}`), /^d14:failure reason/, 'not of everything');
  const unknown = await ask(`/announce?info_hash=${hash('cd'.repeat(20))}${peer}&passkey=${announceKey}`);
  t.equal(
    unknown,
    await ask(`/announce?info_hash=${hash(other)}${peer}&passkey=${announceKey}`),
    'no oracle',
  );

  for (const action of [1, 2] as const) {
    const refused = await askUdp(origin, action, infoHash);
    t.match(refused, [3, /passkey/], 'a datagram carries no passkey');
    t.same(await askUdp(origin, action, 'cd'.repeat(20)), refused, 'no oracle');
  }

  const log = createLogger({ program: 'test', level: 'silent' });
  const [key] = await openKeys(path.join(origin.data, 'access-keys.json'), log);
  if (key === undefined) throw new Error('no key');
  const made = (repository: string, expiresIn: number) =>
    signPasskey(key, 'blob', digest, { subject: undefined, repository }, Date.now() + expiresIn, () => '');
  t.equal(
    await get(`${seed.pathname}?passkey=${made('team/app', 60_000)}`),
    401,
    'the rules are asked at each use',
  );
  await push(origin, 'public/app', bytes);
  const wrong = { headers: basic('ann', 'wrong') };
  const opened = (passkey: string) =>
    statusOf(origin.call('GET', `/v2/public/app/blobs/${digest}?passkey=${passkey}`, wrong));
  t.equal(await opened(made('public/app', 60_000)), 200, 'a key needs no log-in');
  t.equal(await opened(made('public/app', -1)), 401, 'an expired one is as none');

  await writeHtpasswd(htpasswd, { ...USERS, ann: 'another password' });
  await origin.origin.reload({ access });
  t.equal(await get(`${seed.pathname}?passkey=${blobKey}`), 401, 'the password was changed');
  t.match(await ask(`/announce?info_hash=${hash(infoHash)}${peer}&passkey=${announceKey}`), /passkey/);
});
