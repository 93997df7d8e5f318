/** The origin as a pull-through cache of Debian's docker-registry: what is asked of it, when, and by whom. */
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { ConfigError } from '#config';
import { sha256DigestOf } from '#oci';
import { type OriginConfig, startOrigin } from '#origin';
import { createLogger, createMetrics } from '#telemetry';
import { parseMetainfo } from '#torrent';
import { accessFrom, accessOf, basic } from '../support/access.ts';
import { needs } from '../support/debian.ts';
import { type DockerRegistry, dockerRegistry } from '../support/docker-registry.ts';
import {
  agentHere,
  type PushedImage,
  pull,
  pushImage,
  pushBlob as pushThere,
  someBytes,
  until,
} from '../support/in-process.ts';
import {
  INDEX,
  imageOf,
  MANIFEST,
  pushBlob,
  putManifest,
  type TestOrigin,
  temporaryFolder,
  testOrigin,
} from '../support/origin.ts';
import { rawUpstream } from '../support/raw-upstream.ts';

await needs(t, ['docker-registry']);

type Upstream = NonNullable<OriginConfig['upstreams']>[number];

function upstreamAt(url: string, more: Partial<Upstream> = {}): Upstream {
  return { name: 'hub.test', url, staleMs: 3_600_000, timeoutMs: 5_000, isPublic: false, ...more };
}

async function setUp(
  t: Test,
  more: Partial<Upstream> = {},
  config: Partial<OriginConfig> = {},
): Promise<{ registry: DockerRegistry; origin: TestOrigin; image: PushedImage; layer: Buffer }> {
  const registry = await dockerRegistry(t);
  const layer = someBytes(700_001);
  const image = await pushImage(registry.url, 'team/app', 'v1', [layer]);
  const origin = await testOrigin(t, { ...config, upstreams: [upstreamAt(registry.url, more)] });
  return { registry, origin, image, layer };
}

const messageOf = (answer: { json(): unknown }): string =>
  (answer.json() as { errors: [{ message: string }] }).errors[0].message;

t.test('an image is had by ns and by path, each blob once, and by digest without the upstream', async (t) => {
  const { registry, origin, image, layer } = await setUp(t);
  const [digest = ''] = image.layers;

  const byNs = await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test');
  t.equal(byNs.status, 200);
  t.same(byNs.body, image.manifest);
  t.equal(byNs.headers['docker-content-digest'], image.digest);
  t.equal(byNs.headers['oci-namespace'], 'hub.test');
  const byPath = await origin.call('GET', '/v2/hub.test/team/app/manifests/v1');
  t.same(byPath.body, image.manifest);
  t.equal((await origin.call('GET', '/v2/team/app/manifests/v1')).status, 404, 'it is no image of our own');

  const size = await origin.call('HEAD', `/v2/team/app/blobs/${digest}?ns=hub.test`);
  t.equal(size.headers['content-length'], String(layer.length));
  const answers = await Promise.all(
    ['/v2/team/app/blobs/', '/v2/hub.test/team/app/blobs/'].flatMap((where) =>
      Array.from({ length: 6 }, () => origin.call('GET', `${where}${digest}?ns=hub.test`)),
    ),
  );
  for (const { body } of answers) t.ok(body.equals(layer));
  const part = await origin.call('GET', `/v2/hub.test/team/app/blobs/${digest}`, {
    headers: { range: 'bytes=1000-1999' },
  });
  t.equal(part.status, 206);
  t.ok(part.body.equals(layer.subarray(1000, 2000)));
  t.equal(registry.requests('GET', 200, /^\/v2\/team\/app\/blobs\//), 1);
  t.equal(await origin.metric('shoal_upstream_bytes_total', { upstream: 'hub.test' }), layer.length);
  t.equal(registry.requests('GET', 200, /^\/v2\/team\/app\/manifests\//), 1, 'the tag was confirmed by HEAD');

  const torrent = await origin.call('GET', `/v2/team/app/_shoal/torrents/${digest}?ns=hub.test`);
  t.equal(parseMetainfo(torrent.body).digest, digest, 'it is seeded like a pushed one');
  await registry.stop();
  t.equal((await origin.call('GET', `/v2/team/app/manifests/${image.digest}?ns=hub.test`)).status, 200);
  t.ok((await origin.call('GET', `/v2/team/app/blobs/${digest}?ns=hub.test`)).body.equals(layer));
  const again = await origin.restart();
  t.ok((await again.call('GET', `/v2/team/app/blobs/${digest}?ns=hub.test`)).body.equals(layer));
});

t.test('the metainfo of a blob that must still come fetches it', async (t) => {
  const { registry, origin, image } = await setUp(t);
  const [digest = ''] = image.layers;
  const asks = Array.from({ length: 5 }, () =>
    origin.call('GET', `/v2/hub.test/team/app/_shoal/torrents/${digest}`),
  );
  for (const { body } of await Promise.all(asks)) t.equal(parseMetainfo(body).digest, digest);
  t.equal(registry.requests('GET', 200, /blobs/), 1);
});

t.test('a registry with a port is named with its port by ns, and with an underscore by path', async (t) => {
  const { origin, image } = await setUp(t, { name: 'hub.test:5000' });
  const byNs = await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test:5000');
  t.equal(byNs.headers['docker-content-digest'], image.digest);
  const byPath = await origin.call('GET', '/v2/hub.test_5000/team/app/manifests/v1');
  t.equal(byPath.headers['docker-content-digest'], image.digest);
  t.equal((await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test')).status, 404);
});

t.test("a name without a slash at docker.io is one of library's", async (t) => {
  const registry = await dockerRegistry(t);
  const image = await pushImage(registry.url, 'library/app', 'v1', [someBytes(1000)]);
  const origin = await testOrigin(t, { upstreams: [upstreamAt(registry.url, { name: 'docker.io' })] });
  for (const where of ['/v2/docker.io/app/', '/v2/app/', '/v2/docker.io/library/app/']) {
    const answer = await origin.call(
      'GET',
      `${where}manifests/v1${where === '/v2/app/' ? '?ns=docker.io' : ''}`,
    );
    t.equal(answer.headers['docker-content-digest'], image.digest, where);
    t.equal((await origin.call('GET', `${where}blobs/${image.config}?ns=docker.io`)).status, 200);
  }
  t.equal(registry.requests('GET', 200, /blobs/), 1);
});

t.test('a tag is confirmed at each ask, and moves with the upstream', async (t) => {
  const { registry, origin, image } = await setUp(t);
  const ask = () => origin.call('GET', '/v2/hub.test/team/app/manifests/v1');
  t.equal((await ask()).headers['docker-content-digest'], image.digest);
  t.equal((await ask()).headers['docker-content-digest'], image.digest);
  t.equal(registry.requests('HEAD', 200, /manifests\/v1$/), 2);
  t.equal(registry.requests('GET', 200, /manifests/), 1);

  const next = await pushImage(registry.url, 'team/app', 'v1', [someBytes(1000)]);
  const moved = await ask();
  t.equal(moved.headers['docker-content-digest'], next.digest);
  t.same(moved.body, next.manifest);
  const before = await origin.call('GET', `/v2/hub.test/team/app/manifests/${image.digest}`);
  t.equal(before.status, 200, 'the one before is still had by its digest');
  t.equal(registry.requests('GET', 200, /manifests/), 2);
});

t.test('while the upstream is down a tag is served as it was, within the limit only', async (t) => {
  const { registry, origin, image } = await setUp(t);
  const strict = await testOrigin(t, { upstreams: [upstreamAt(registry.url, { staleMs: 1 })] });
  for (const each of [origin, strict]) await each.call('GET', '/v2/hub.test/team/app/manifests/v1');
  await registry.stop();

  const stale = await origin.call('GET', '/v2/hub.test/team/app/manifests/v1');
  t.equal(stale.headers['docker-content-digest'], image.digest);
  t.match(stale.headers['warning'], /^110 /);
  t.equal(await origin.metric('shoal_upstream_stale_total', { upstream: 'hub.test' }), 1);
  const restarted = await origin.restart();
  t.equal((await restarted.call('GET', '/v2/hub.test/team/app/manifests/v1')).status, 200);

  const late = await strict.call('GET', '/v2/hub.test/team/app/manifests/v1');
  t.equal(late.status, 503);
  t.equal(late.errorCode(), 'UNAVAILABLE');
  t.ok(Number(late.headers['retry-after']) >= 1);
  const unknown = await restarted.call('GET', '/v2/hub.test/team/app/manifests/v2');
  t.equal(unknown.status, 503, 'nobody knows whether it is there');
  t.match(await status(restarted), { name: 'hub.test', reachable: false });

  await registry.start();
  await until(async () => (await strict.call('GET', '/v2/hub.test/team/app/manifests/v1')).status === 200);
});

t.test('what is gone there is gone here, and 404s are remembered for a moment', async (t) => {
  const { registry, origin, image } = await setUp(t);
  t.equal((await origin.call('GET', '/v2/hub.test/team/app/manifests/v1')).status, 200);
  for (let ask = 0; ask < 3; ask += 1) {
    const answer = await origin.call('GET', '/v2/hub.test/team/app/manifests/nope');
    t.equal(answer.status, 404);
    t.equal(answer.errorCode(), 'MANIFEST_UNKNOWN');
  }
  t.equal(registry.requests('HEAD', 404, /nope/), 1);
  const missing = sha256DigestOf(someBytes(10));
  for (let ask = 0; ask < 3; ask += 1) {
    const answer = await origin.call('GET', `/v2/hub.test/team/app/blobs/${missing}`);
    t.equal(answer.status, 404);
    t.equal(answer.errorCode(), 'BLOB_UNKNOWN');
  }
  t.equal(registry.requests('GET', 404, /blobs/), 1);

  const gone = await fetch(`${registry.url}/v2/team/app/manifests/${image.digest}`, { method: 'DELETE' });
  t.equal(gone.status, 202);
  t.equal((await origin.call('GET', '/v2/hub.test/team/app/manifests/v1')).status, 404);
  await registry.stop();
  const again = await origin.restart();
  t.equal(
    (await again.call('GET', '/v2/hub.test/team/app/manifests/v1')).status,
    503,
    'it does not come back',
  );
});

t.test('an upstream with a password: with it, without it, with a wrong one', async (t) => {
  const user = { name: 'puller', password: 'correct horse' };
  const registry = await dockerRegistry(t, user);
  const image = await pushImage(registry.url, 'team/app', 'v1', [someBytes(1000)], registry.login);
  const folder = await temporaryFolder(t);
  const passwordFile = path.join(folder, 'password');
  const authFile = path.join(folder, 'auth.json');
  await writeFile(passwordFile, `${user.password}\n`);
  const auth = Buffer.from(`${user.name}:${user.password}`).toString('base64');
  await writeFile(authFile, JSON.stringify({ auths: { 'hub.test': { auth } } }));
  const [digest = ''] = image.layers;

  for (const credentials of [{ username: user.name, passwordFile }, { authFile }]) {
    const origin = await testOrigin(t, {
      upstreams: [upstreamAt(registry.url, { credentials, isPublic: true })],
    });
    t.equal((await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test')).status, 200);
    t.equal((await origin.call('GET', `/v2/team/app/blobs/${digest}?ns=hub.test`)).body.length, 1000);
  }

  const open = await testOrigin(t, { upstreams: [upstreamAt(registry.url)] });
  const refused = await open.call('GET', '/v2/team/app/manifests/v1?ns=hub.test');
  t.equal(refused.status, 403);
  t.equal(refused.errorCode(), 'DENIED');
  t.match(messageOf(refused), /hub\.test refuses team\/app \(401\).*needs credentials/);
  t.equal((await open.call('GET', `/v2/team/app/blobs/${digest}?ns=hub.test`)).status, 403);

  await writeFile(passwordFile, 'wrong\n');
  const credentials = { username: user.name, passwordFile };
  const wrong = await testOrigin(t, {
    upstreams: [upstreamAt(registry.url, { credentials, isPublic: true })],
  });
  const answer = await wrong.call('GET', '/v2/team/app/manifests/v1?ns=hub.test');
  t.match(messageOf(answer), /hub\.test refuses team\/app.*credentials for this upstream do not reach it/);
  t.notMatch(answer.body.toString(), /wrong/);
});

t.test("an upstream's credentials do not serve everybody unless that is said", async (t) => {
  const registry = await dockerRegistry(t);
  const image = await pushImage(registry.url, 'team/app', 'v1', [someBytes(1000)]);
  const folder = await temporaryFolder(t);
  const passwordFile = path.join(folder, 'password');
  await writeFile(passwordFile, 'secret\n');
  const upstreams = [upstreamAt(registry.url, { credentials: { username: 'puller', passwordFile } })];
  const { access, htpasswd } = await accessOf(folder, { ann: 'pw' }, []);
  const rules = (...texts: string[]) =>
    accessFrom(htpasswd, [
      'subject=authenticated actions=*',
      ...texts.map((text) => `subject=anonymous ${text}`),
    ]);
  const start = (more: Partial<OriginConfig>) =>
    startOrigin(
      {
        ...{ listen: { host: '127.0.0.1', port: 0 }, peerListen: 'off', bittorrentListen: 'off' },
        ...{ data: path.join(folder, 'data'), upstreams, ...more },
      },
      { log: createLogger({ program: 'origin', level: 'silent' }), metrics: createMetrics() },
    );
  const refusesToStart = (more: Partial<OriginConfig>, hint: RegExp) =>
    t.rejects(start(more), { constructor: ConfigError, message: hint });

  await refusesToStart({}, /hub\.test has credentials.*access-htpasswd/);
  await refusesToStart({ access: rules('actions=pull') }, /hub\.test has credentials.*rules of anonymous/);
  await refusesToStart({ access: rules('repositories=*/team/** actions=pull') }, /rules of anonymous/);
  const meant = await start({ access: rules('repositories=hub.test/public/** actions=pull') });
  await t.rejects(meant.reload({ access: rules('actions=pull') }), /hub\.test has credentials/);
  await meant.close();

  const origin = await testOrigin(t, { upstreams, access });
  t.equal((await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test')).status, 401);
  const ann = { headers: basic('ann', 'pw') };
  const answer = await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test', ann);
  t.equal(answer.headers['docker-content-digest'], image.digest);
  t.equal((await origin.call('GET', `/v2/hub.test/team/app/blobs/${image.config}`)).status, 401);
});

t.test('a repository gets only what its upstream says that it has', async (t) => {
  const { registry, origin, image, layer } = await setUp(t);
  const [digest = ''] = image.layers;
  const secret = await pushBlob(origin, 'team/secret', someBytes(5000));
  t.equal((await origin.call('GET', `/v2/hub.test/team/app/blobs/${secret}`)).status, 404);
  t.equal((await origin.call('HEAD', `/v2/hub.test/team/app/blobs/${secret}`)).status, 404);
  t.equal((await origin.call('GET', `/v2/hub.test/team/app/_shoal/torrents/${secret}`)).status, 404);

  t.ok((await origin.call('GET', `/v2/hub.test/team/app/blobs/${digest}`)).body.equals(layer));
  t.equal((await origin.call('GET', `/v2/hub.test/other/app/blobs/${digest}`)).status, 404);
  t.equal((await origin.call('GET', `/v2/other/app/blobs/${digest}`)).status, 404);

  await pushThere(registry.url, 'third/app', layer);
  t.ok((await origin.call('GET', `/v2/hub.test/third/app/blobs/${digest}`)).body.equals(layer));
  t.equal(registry.requests('HEAD', 200, /^\/v2\/third\/app\/blobs/), 1);
  t.equal(registry.requests('GET', 200, /blobs/), 1, 'the bytes were here');
});

t.test('own images: pushed beside an upstream, never into it, nor in its place', async (t) => {
  const { origin, image } = await setUp(t);
  for (const [method, where] of [
    ['POST', '/v2/hub.test/team/app/blobs/uploads/'],
    ['PUT', '/v2/hub.test/team/app/manifests/v1'],
    ['PATCH', '/v2/hub.test/team/app/blobs/uploads/x'],
  ] as const) {
    const answer = await origin.call(method, where, { body: 'x' });
    t.equal(answer.status, 403);
    t.equal(answer.errorCode(), 'DENIED');
    t.match(messageOf(answer), /a copy of what its upstream hub\.test has: push there/);
  }

  const own = await imageOf(origin, 'team/app', [someBytes(10)]);
  t.equal((await putManifest(origin, 'team/app', 'v1', own)).status, 201);
  t.equal((await putManifest(origin, 'team/app', 'mine', own)).status, 201);
  const theirs = await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test');
  t.equal(theirs.headers['docker-content-digest'], image.digest, 'the name says whose image it is');
  t.same((await origin.call('GET', '/v2/team/app/manifests/v1')).body, own);
  t.same((await origin.call('GET', '/v2/team/app/manifests/mine?ns=hub.test')).body, own, 'they have none');

  const removed = await origin.call('DELETE', '/v2/hub.test/team/app/manifests/v1');
  t.equal(removed.status, 202, 'a copy can be taken away');
  t.equal((await origin.call('GET', '/v2/hub.test/team/app/manifests/v1')).status, 200, 'and comes again');
});

t.test('what was pushed under the name before there was an upstream stays as it was pushed', async (t) => {
  const registry = await dockerRegistry(t);
  await pushImage(registry.url, 'team/app', 'v1', [someBytes(1000)]);
  const before = await testOrigin(t);
  const own = await imageOf(before, 'hub.test/team/app', [someBytes(10)]);
  for (const tag of ['v1', 'gone-there']) {
    t.equal((await putManifest(before, 'hub.test/team/app', tag, own)).status, 201);
  }
  await before.origin.close();
  const origin = await testOrigin(t, { data: before.data, upstreams: [upstreamAt(registry.url)] });
  for (const tag of ['v1', 'gone-there', 'v1']) {
    t.same((await origin.call('GET', `/v2/team/app/manifests/${tag}?ns=hub.test`)).body, own);
  }
  t.equal(registry.requests('HEAD', 200, /manifests/), 0);
});

t.test('garbage collection leaves what a confirmed tag holds, and takes the rest', async (t) => {
  const leaseMs = 60_000;
  let skipped = 0;
  const now = (): number => performance.timeOrigin + performance.now() + skipped;
  const pass = async (): Promise<void> => {
    skipped += 2 * leaseMs + 10;
    t.equal((await origin.call('POST', '/api/v1/gc')).status, 200);
  };
  const maxAge = [{ pattern: 'hub.test/**', ageMs: 24 * 3_600_000 }];
  const { registry, origin, image, layer } = await setUp(
    t,
    {},
    { collection: { leaseMs, intervalMs: undefined, now, maxAge } },
  );
  const [digest = ''] = image.layers;
  await origin.call('GET', '/v2/hub.test/team/app/manifests/v1');
  t.ok((await origin.call('GET', `/v2/hub.test/team/app/blobs/${digest}`)).body.equals(layer));
  for (let round = 0; round < 3; round += 1) await pass();
  t.ok((await origin.call('GET', `/v2/hub.test/team/app/blobs/${digest}`)).body.equals(layer));
  t.equal(registry.requests('GET', 200, /blobs/), 1, 'it never left');

  skipped += 20 * 3_600_000;
  await origin.call('GET', '/v2/hub.test/team/app/manifests/v1');
  skipped += 20 * 3_600_000;
  await pass();
  t.equal(registry.requests('GET', 200, /manifests/), 1, 'a confirmation keeps a tag young');
  skipped += 20 * 3_600_000;
  for (let round = 0; round < 3; round += 1) await pass();
  const blobs = (await origin.call('GET', '/api/v1/status')).json() as { blobs: { count: number } };
  t.equal(blobs.blobs.count, 0, 'what nobody asked for is gone');
  t.ok(
    (await origin.call('GET', `/v2/hub.test/team/app/blobs/${digest}`)).body.equals(layer),
    'it comes again',
  );
});

t.test('an index of which one platform is pulled is no fault to a scrub', async (t) => {
  const { registry, origin, image } = await setUp(t);
  const other = await pushImage(registry.url, 'team/app', 'other', [someBytes(100)]);
  const manifests = [image, other].map(({ digest, manifest }, at) => ({
    ...{ mediaType: MANIFEST, digest, size: manifest.length },
    platform: { os: 'linux', architecture: at === 0 ? 'amd64' : 'arm64' },
  }));
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
  const put = await fetch(`${registry.url}/v2/team/app/manifests/many`, {
    ...{ method: 'PUT', headers: { 'content-type': INDEX }, body: new Uint8Array(index) },
  });
  t.equal(put.status, 201);
  t.same((await origin.call('GET', '/v2/hub.test/team/app/manifests/many')).body, index);
  t.same((await origin.call('GET', `/v2/hub.test/team/app/manifests/${image.digest}`)).body, image.manifest);

  t.equal((await origin.call('POST', '/api/v1/scrub')).status, 202);
  const state = async () =>
    (await origin.call('GET', '/api/v1/scrub')).json() as {
      running: boolean;
      found: number;
      checked: object;
    };
  await until(async () => !(await state()).running);
  t.match(await state(), { found: 0, checked: { manifests: 2 } });
  t.same(await readdir(path.join(origin.data, 'blobs', 'uploads')), [], 'nothing half-fetched lies about');
});

t.test('tags and referrers are listed as they are there, and as they are here when it is down', async (t) => {
  const there = await testOrigin(t);
  const image = await imageOf(there, 'team/app', [someBytes(10)]);
  for (const tag of ['v1', 'v2', 'v3']) await putManifest(there, 'team/app', tag, image);
  const subject = { mediaType: MANIFEST, digest: sha256DigestOf(image), size: image.length };
  const signature = await imageOf(there, 'team/app', [], { subject, artifactType: 'application/x.sig' });
  await putManifest(there, 'team/app', sha256DigestOf(signature), signature);
  const origin = await testOrigin(t, { upstreams: [upstreamAt(there.url)] });
  await origin.call('GET', '/v2/team/app/manifests/v1?ns=hub.test');

  const first = await origin.call('GET', '/v2/team/app/tags/list?ns=hub.test&n=2');
  t.same(first.json(), { name: 'team/app', tags: ['v1', 'v2'] });
  const next = /^<([^>]+)>; rel="next"$/.exec(first.headers['link'] ?? '')?.[1] ?? '';
  t.match(next, /^\/v2\/team\/app\/tags\/list\?.*ns=hub\.test/);
  t.same((await origin.call('GET', next)).json(), { name: 'team/app', tags: ['v3'] });
  t.equal((await origin.call('GET', '/v2/hub.test/none/tags/list')).status, 404);
  const where = `/v2/hub.test/team/app/referrers/${subject.digest}`;
  const referrers = await origin.call('GET', where);
  t.match(referrers.json(), { manifests: [{ digest: sha256DigestOf(signature) }] });
  t.equal(referrers.headers['content-type'], INDEX);

  await there.origin.close();
  const tags = await origin.call('GET', '/v2/hub.test/team/app/tags/list');
  t.same(tags.json(), { name: 'hub.test/team/app', tags: ['v1'] });
  t.match((await origin.call('GET', where)).json(), { manifests: [] });
});

t.test('an agent serves both forms from one cache, and passes on what the upstream says', async (t) => {
  const { registry, origin, image, layer } = await setUp(t);
  const agent = await agentHere(t, [origin.url]);
  const [digest = ''] = image.layers;
  t.equal((await pull(`${agent.url}/v2/team/app/manifests/v1?ns=hub.test`)).status, 200);
  t.ok((await pull(`${agent.url}/v2/team/app/blobs/${digest}?ns=hub.test`)).bytes.equals(layer));
  t.equal((await pull(`${agent.url}/v2/hub.test/team/app/manifests/v1`)).status, 200);
  t.ok((await pull(`${agent.url}/v2/hub.test/team/app/blobs/${digest}`)).bytes.equals(layer));
  t.equal(registry.requests('GET', 200, new RegExp(`blobs/${digest}`)), 1);
  t.equal((await pull(`${agent.url}/v2/team/app/manifests/none?ns=hub.test`)).status, 404);
  t.equal(
    (await pull(`${agent.url}/v2/hub.test/team/app/blobs/${sha256DigestOf(layer.subarray(1))}`)).status,
    404,
  );

  let status = 401;
  const strict = await rawUpstream(t, (_asked, response) =>
    response.writeHead(status, { 'retry-after': '70' }).end(),
  );
  const other = await testOrigin(t, { upstreams: [upstreamAt(strict.url)] });
  const behind = await agentHere(t, [other.url]);
  const refused = await pull(`${behind.url}/v2/team/app/manifests/v1?ns=hub.test`);
  t.equal(refused.status, 403);
  t.match(refused.bytes.toString(), /the upstream hub\.test refuses team\/app/);
  status = 429;
  const limited = await pull(`${behind.url}/v2/team/app/manifests/v2?ns=hub.test`);
  t.equal(limited.status, 503);
  t.ok(Number(limited.headers.get('retry-after')) > 60);
  t.match(limited.bytes.toString(), /hub\.test cannot be asked: it limits requests/);
});

async function status(origin: TestOrigin): Promise<unknown> {
  const answer = (await origin.call('GET', '/api/v1/status')).json() as {
    upstreams: { registries: unknown[] };
  };
  return answer.upstreams.registries[0];
}
