/** Upstreams that misbehave: limits, cuts, stalls, lies, redirects. What clients see, and what is kept. */
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { type Digest, sha256DigestOf } from '#oci';
import type { OriginConfig } from '#origin';
import { someBytes, until } from '../support/in-process.ts';
import { MANIFEST, type TestOrigin, temporaryFolder, testOrigin } from '../support/origin.ts';
import { spawnOrigin } from '../support/origin-process.ts';
import { type RawUpstream, rawUpstream, sendBlob } from '../support/raw-upstream.ts';

type Upstream = NonNullable<OriginConfig['upstreams']>[number];

function upstreamAt(url: string, more: Partial<Upstream> = {}): Upstream {
  return { name: 'hub.test', url, staleMs: 3_600_000, timeoutMs: 5_000, isPublic: false, ...more };
}

interface SetUp {
  readonly upstream: RawUpstream;
  readonly origin: TestOrigin;
  readonly blob: Buffer;
  readonly digest: Digest;
  /** Of the blob. */
  readonly where: string;
}

/** `answer` is given the blob to misbehave with. */
async function setUp(
  t: Test,
  answer: (blob: Buffer, request: IncomingMessage, response: ServerResponse, before: number) => void,
  more: Partial<Upstream> = {},
): Promise<SetUp> {
  const blob = someBytes(3_000_001);
  const digest = sha256DigestOf(blob);
  const upstream = await rawUpstream(t, (asked, response, before) => answer(blob, asked, response, before));
  const origin = await testOrigin(t, { upstreams: [upstreamAt(upstream.url, more)] });
  return { upstream, origin, blob, digest, where: `/v2/hub.test/a/b/blobs/${digest}` };
}

/** Nothing of a blob that failed is kept. */
async function keepsNothing(t: Test, origin: TestOrigin): Promise<void> {
  const uploads = path.join(origin.data, 'blobs', 'uploads');
  await until(async () => (await readdir(uploads)).length === 0);
  const state = (await origin.call('GET', '/api/v1/status')).json() as { blobs: { count: number } };
  t.equal(state.blobs.count, 0);
}

t.test('429 becomes 503 with Retry-After, and the upstream is left alone until then', async (t) => {
  const { upstream, origin, where } = await setUp(t, (_blob, _request, response) => {
    response.writeHead(429, { 'retry-after': '70' }).end('{"errors":[{"code":"TOOMANYREQUESTS"}]}');
  });
  const first = await origin.call('GET', '/v2/hub.test/a/b/manifests/v1');
  t.equal(first.status, 503);
  t.equal(first.errorCode(), 'UNAVAILABLE');
  const seconds = Number(first.headers['retry-after']);
  t.ok(seconds > 60 && seconds <= 70, `retry-after: ${seconds}`);
  const next = await origin.call('GET', where);
  t.equal(next.status, 503);
  t.ok(Number(next.headers['retry-after']) > 60);
  t.match(next.body.toString(), /limits requests/);
  t.same(upstream.seen, ['HEAD /v2/a/b/manifests/v1']);
  t.equal(await origin.metric('shoal_upstream_requests_total', { upstream: 'hub.test', status: '429' }), 1);
});

t.test('a limit is no reason to lose a tag', async (t) => {
  const config = someBytes(10);
  const manifest = Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType: MANIFEST, layers: [] },
      config: { mediaType: 'application/x', digest: sha256DigestOf(config), size: config.length },
    }),
  );
  const { upstream, origin } = await setUp(t, (_blob, { method }, response, before) => {
    if (method === 'HEAD' && before > 0) response.writeHead(429).end();
    else response.writeHead(200, { 'content-type': MANIFEST }).end(method === 'HEAD' ? undefined : manifest);
  });
  for (const warning of [undefined, '110 shoal "Response is Stale"', '110 shoal "Response is Stale"']) {
    const answer = await origin.call('GET', '/v2/hub.test/a/b/manifests/v1');
    t.same(answer.body, manifest);
    t.equal(answer.headers['warning'], warning);
  }
  t.same(upstream.seen, [
    'HEAD /v2/a/b/manifests/v1',
    'GET /v2/a/b/manifests/v1',
    'HEAD /v2/a/b/manifests/v1',
  ]);
});

t.test('a connection that breaks is taken up where it broke', async (t) => {
  const { upstream, origin, blob, where } = await setUp(t, (bytes, asked, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(asked.headers.range ?? '')?.[1] ?? 0);
    const part = bytes.subarray(from, from + 1_100_000);
    const range = from > 0 ? { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': bytes.length - from, ...range });
    response.write(part, () => response.destroy());
  });
  const answers = await Promise.all([origin.call('GET', where), origin.call('GET', where)]);
  for (const { status, body } of answers) {
    t.equal(status, 200);
    t.ok(body.equals(blob));
  }
  t.ok(upstream.seen.length >= 3, `${upstream.seen.length} connections`);
  t.equal(upstream.headers.filter(({ range }) => range === undefined).length, 1, 'the beginning came once');
});

t.test('one that knows no Range sends the beginning again', async (t) => {
  const { origin, blob, where } = await setUp(t, (bytes, _asked, response, before) => {
    response.writeHead(200, { 'content-length': bytes.length });
    if (before > 0) response.end(bytes);
    else response.write(bytes.subarray(0, 1_500_000), () => response.destroy());
  });
  t.ok((await origin.call('GET', where)).body.equals(blob));
});

t.test('a stall is taken up again, and an upstream that is silent is given up', async (t) => {
  const stalls = await setUp(
    t,
    (bytes, asked, response, before) => {
      if (before > 0) sendBlob(asked, response, bytes);
      else response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 500_000));
    },
    { timeoutMs: 400 },
  );
  t.ok((await stalls.origin.call('GET', stalls.where)).body.equals(stalls.blob));

  const silent = await setUp(t, () => undefined, { timeoutMs: 400 });
  const answer = await silent.origin.call('GET', silent.where);
  t.equal(answer.status, 503);
  t.ok(Number(answer.headers['retry-after']) >= 1);
  t.equal((await silent.origin.call('GET', '/v2/hub.test/a/b/manifests/v1')).status, 503);
  t.equal(silent.upstream.seen.length, 1, 'it is left alone for a while');
});

t.test('wrong bytes are never given out whole, and not kept', async (t) => {
  const { upstream, origin, blob, where } = await setUp(t, (bytes, asked, response) => {
    sendBlob(asked, response, Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]));
  });
  await t.rejects(origin.call('GET', where), 'the connection is cut before the end');
  await keepsNothing(t, origin);
  const next = await origin.call('GET', where);
  t.equal(next.status, 503);
  t.match(next.body.toString(), /sent other bytes than/);
  t.equal(upstream.seen.length, 1, 'it is not asked again at once');
  t.equal((await origin.call('GET', `/v2/hub.test/a/b/_shoal/torrents/${sha256DigestOf(blob)}`)).status, 503);
});

t.test('more or fewer bytes than announced end the fetch', async (t) => {
  const { origin, where } = await setUp(
    t,
    (bytes, _asked, response, before) => {
      // The second answer is of another size than the first.
      response.writeHead(200, { 'content-length': before > 0 ? bytes.length + 1 : bytes.length });
      response.write(bytes.subarray(0, 1000), () => response.destroy());
    },
    { timeoutMs: 500 },
  );
  await t.rejects(origin.call('GET', where));
  await keepsNothing(t, origin);
});

t.test('a blob without a size is given out when it is complete', async (t) => {
  const { origin, blob, where } = await setUp(t, (bytes, asked, response) => {
    if (asked.method === 'HEAD') response.writeHead(200).end();
    else response.writeHead(200, { 'transfer-encoding': 'chunked' }).end(bytes);
  });
  const [one, other] = await Promise.all([origin.call('GET', where), origin.call('GET', where)]);
  t.ok(one.body.equals(blob));
  t.ok(other.body.equals(blob));
});

t.test(
  'bytes are passed on while they arrive, by Range too, and the last ones when they are right',
  async (t) => {
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { origin, blob, where } = await setUp(t, (bytes, _asked, response) => {
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 2_000_000));
      void released.then(() => response.end(bytes.subarray(2_000_000)));
    });
    const whole = await request(`${origin.url}${where}`);
    t.equal(whole.headers['content-length'], String(blob.length));
    const part = await origin.call('GET', where, { headers: { range: 'bytes=100000-299999' } });
    t.equal(part.status, 206);
    t.equal(part.headers['content-range'], `bytes 100000-299999/${blob.length}`);
    t.ok(part.body.equals(blob.subarray(100_000, 300_000)), 'a part that is here needs no more to come');

    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of whole.body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      // Of the 2,000,000 bytes that are here an answer in large parts may hold one part back.
      if (length >= 900_000) release();
    }
    t.ok(Buffer.concat(chunks).equals(blob));
  },
);

t.test('a redirect to another host carries no credentials', async (t) => {
  const folder = await temporaryFolder(t);
  const passwordFile = path.join(folder, 'password');
  await writeFile(passwordFile, 'pw\n');
  const blob = someBytes(50_000);
  const store = await rawUpstream(t, (asked, response) => sendBlob(asked, response, blob));
  const upstream = await rawUpstream(t, (asked, response) => {
    if (asked.headers.authorization === undefined) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
    } else response.writeHead(307, { location: `${store.url}/signed?key=1` }).end();
  });
  const credentials = { username: 'u', passwordFile };
  const origin = await testOrigin(t, {
    upstreams: [upstreamAt(upstream.url, { credentials, isPublic: true })],
  });
  const answer = await origin.call('GET', `/v2/hub.test/a/b/blobs/${sha256DigestOf(blob)}`);
  t.ok(answer.body.equals(blob));
  t.same(store.seen, ['GET /signed?key=1']);
  t.equal(store.headers[0]?.authorization, undefined);
  t.match(upstream.headers.at(-1)?.authorization, /^Basic /);

  const loop = await rawUpstream(t, (_asked, response) =>
    response.writeHead(302, { location: '/again' }).end(),
  );
  const lost = await testOrigin(t, { upstreams: [upstreamAt(loop.url)] });
  t.equal((await lost.call('GET', `/v2/hub.test/a/b/blobs/${sha256DigestOf(blob)}`)).status, 503);
  t.ok(loop.seen.length < 10);
});

t.test('the token flow, and a token service that is limited', async (t) => {
  const blob = someBytes(50_000);
  const where = `/v2/hub.test/a/b/blobs/${sha256DigestOf(blob)}`;
  let limited = false;
  const upstream = await rawUpstream(t, (asked, response) => {
    const base = `http://${asked.headers.host}`;
    if (asked.url?.startsWith('/token') && limited) response.writeHead(429, { 'retry-after': '5' }).end();
    else if (asked.url?.startsWith('/token')) response.end(JSON.stringify({ token: 'T', expires_in: 300 }));
    else if (asked.headers.authorization === 'Bearer T') sendBlob(asked, response, blob);
    else response.writeHead(401, { 'www-authenticate': `Bearer realm="${base}/token",service="s"` }).end();
  });
  const origin = await testOrigin(t, { upstreams: [upstreamAt(upstream.url)] });
  t.ok((await origin.call('GET', where)).body.equals(blob));
  t.match(upstream.seen[1], /^GET \/token\?.*scope=repository%3Aa%2Fb%3Apull/);

  limited = true;
  const other = await testOrigin(t, { upstreams: [upstreamAt(upstream.url)] });
  const answer = await other.call('GET', where);
  t.equal(answer.status, 503, 'that is no refusal');
  t.ok(Number(answer.headers['retry-after']) >= 1);
});

t.test('a manifest that names a digest gives no right to it, and one that is none is refused', async (t) => {
  const secret = someBytes(5_000);
  const digest = sha256DigestOf(secret);
  const manifest = Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType: MANIFEST, layers: [] },
      config: { mediaType: 'application/x', digest, size: secret.length },
    }),
  );
  const { origin } = await setUp(t, (_blob, { url = '' }, response) => {
    if (url.endsWith('manifests/v1')) response.writeHead(200, { 'content-type': MANIFEST }).end(manifest);
    else if (url.includes('manifests')) response.writeHead(200, { 'content-type': MANIFEST }).end('{}');
    else response.writeHead(404).end();
  });
  const push = await origin.call('POST', `/v2/team/secret/blobs/uploads/?digest=${digest}`, { body: secret });
  t.equal(push.status, 201);
  t.equal((await origin.call('GET', '/v2/hub.test/a/b/manifests/v1')).status, 200);
  t.equal((await origin.call('GET', `/v2/hub.test/a/b/blobs/${digest}`)).status, 404);
  const none = await origin.call('GET', '/v2/hub.test/a/b/manifests/v2');
  t.equal(none.status, 503);
  t.match(none.body.toString(), /cannot be used/);
  const wrong = await origin.call('GET', `/v2/hub.test/a/b/manifests/${sha256DigestOf(manifest)}`);
  t.equal(wrong.status, 200, 'by its digest it is here');
});

t.test('an origin that is stopped ends what is on its way, and keeps nothing of it', async (t) => {
  const { origin, where } = await setUp(t, (bytes, _asked, response) => {
    response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 2_000_000));
  });
  const answer = await request(`${origin.url}${where}`);
  answer.body.on('error', () => undefined);
  await once(answer.body, 'data');
  answer.body.destroy();
  await origin.origin.close();
  t.same(await readdir(path.join(origin.data, 'blobs', 'uploads')), []);
});

t.test('what a kill leaves half-fetched is gone after the next start', async (t) => {
  const blob = someBytes(3_000_000);
  let slow = true;
  const upstream = await rawUpstream(t, (asked, response) => {
    if (slow) response.writeHead(200, { 'content-length': blob.length }).write(blob.subarray(0, 2_000_000));
    else sendBlob(asked, response, blob);
  });
  const data = path.join(await temporaryFolder(t), 'data');
  await mkdir(data);
  const uploads = path.join(data, 'blobs', 'uploads');
  const config = { upstreams: [upstreamAt(upstream.url)] };
  const where = `/v2/hub.test/a/b/blobs/${sha256DigestOf(blob)}`;

  const first = await spawnOrigin(data, config);
  t.teardown(first.kill);
  const answer = await request(`${first.url}${where}`);
  answer.body.on('error', () => undefined);
  await once(answer.body, 'data');
  await first.kill();
  t.equal((await readdir(uploads)).length, 1);

  slow = false;
  const second = await spawnOrigin(data, config);
  t.teardown(second.kill);
  t.same(await readdir(uploads), []);
  const again = await request(`${second.url}${where}`);
  t.ok(Buffer.from(await again.body.arrayBuffer()).equals(blob));
});
