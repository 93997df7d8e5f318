import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createOriginClient, type OriginClient } from '../../../daemon/origin-client.ts';
import { orderFor } from '../../../daemon/origin-order.ts';
import { toRepository } from '../../../daemon/repository.ts';
import { fixedEndpoints } from '../../../src/endpoints/index.ts';
import { createHttpClient } from '../../../src/http/client.ts';
import { type Digest, sha256DigestOf } from '../../../src/oci/digest.ts';
import { parseRepositoryName } from '../../../src/oci/reference.ts';
import { createLogger } from '../../../src/telemetry/log.ts';

const log = createLogger({ program: 'test', level: 'silent' });
const repository = toRepository(parseRepositoryName('team/app'), 'docker.io');
const body = Buffer.from('{"schemaVersion":2}');
const digest = sha256DigestOf(body);
const other = sha256DigestOf(Buffer.from('other'));

interface Served {
  readonly url: string;
  readonly seen: string[];
  close(): Promise<void>;
}

async function serve(t: Test, listener: RequestListener): Promise<Served> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    listener(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  t.teardown(close);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, close };
}

async function client(t: Test, origins: readonly string[]): Promise<OriginClient> {
  const http = await createHttpClient({ connectTimeoutMs: 1_000, stallTimeoutMs: 1_000 });
  t.teardown(() => http.close());
  return createOriginClient({ origins: fixedEndpoints(origins), http, bare: http, log });
}

const answerWith =
  (status: number, content: Buffer | string = '', headers: Record<string, string> = {}): RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-length': Buffer.byteLength(content), ...headers }).end(content);
  };

t.test('the namespace and the request id go along', async (t) => {
  let id: string | undefined;
  const origin = await serve(t, (request, response) => {
    id = String(request.headers['x-request-id']);
    answerWith(200, body, { 'content-type': 'application/x' })(request, response);
  });
  const asked = await client(t, [`${origin.url}/`]);
  t.match(await asked.manifest(repository, 'v1', { accept: 'a', requestId: 'id-1' }), {
    digest,
    mediaType: 'application/x',
  });
  t.same(origin.seen, ['GET /v2/team/app/manifests/v1?ns=docker.io']);
  t.equal(id, 'id-1');
});

t.test('the next origin is asked when one fails or does not know', async (t) => {
  const bad = await serve(t, answerWith(502, 'bad gateway'));
  const empty = await serve(t, answerWith(404, '{}'));
  const good = await serve(t, answerWith(200, body));
  const asked = await client(t, [bad.url, empty.url, good.url]);
  t.same(await asked.smallBlob(repository, digest, 1024, {}), body);
});

t.test('a 404 is believed only when every origin has answered', async (t) => {
  const bad = await serve(t, answerWith(500));
  const empty = await serve(t, answerWith(404));
  const both = await client(t, [empty.url, bad.url]);
  await t.rejects(both.blobSize(repository, digest, {}), { code: 'UNAVAILABLE', status: 503 });
  const one = await client(t, [empty.url]);
  await t.rejects(one.blobSize(repository, digest, {}), { code: 'BLOB_UNKNOWN', status: 404 });
});

t.test('408 and 429 are never passed on', async (t) => {
  for (const status of [408, 429]) {
    const busy = await serve(t, answerWith(status));
    const asked = await client(t, [busy.url]);
    await t.rejects(asked.manifest(repository, 'v1', { accept: 'a' }), { code: 'UNAVAILABLE' });
  }
});

t.test('refusals keep their meaning', async (t) => {
  const refusals: [number, string][] = [
    [401, 'UNAUTHORIZED'],
    [403, 'DENIED'],
    [400, 'UNKNOWN'],
  ];
  for (const [status, code] of refusals) {
    const origin = await serve(t, answerWith(status));
    const asked = await client(t, [origin.url]);
    await t.rejects(asked.metainfo(repository, digest, {}), { code });
  }
});

t.test('wrong content is no answer', async (t) => {
  const liar = await serve(t, answerWith(200, body, { 'docker-content-digest': other }));
  const asked = await client(t, [liar.url]);
  await t.rejects(asked.manifest(repository, 'v1', { accept: 'a' }), { code: 'UNAVAILABLE' });
  await t.rejects(asked.manifest(repository, other, { accept: 'a' }), { code: 'UNAVAILABLE' });
  await t.rejects(asked.smallBlob(repository, other as Digest, 1024, {}), { code: 'UNAVAILABLE' });
  await t.rejects(asked.smallBlob(repository, digest, 4, {}), { code: 'UNAVAILABLE' });
  await t.rejects(asked.metainfo(repository, digest, {}), { code: 'UNAVAILABLE' });
  await t.rejects(asked.blobRange(repository, digest, { start: 1, end: 2 }, {}), { code: 'UNAVAILABLE' });
  t.equal(asked.status()[0]?.reachable, true, 'an origin that answers is not left alone');
});

t.test('an origin that cannot be reached is left alone for a while', async (t) => {
  const origin = await serve(t, answerWith(200, body));
  const good = await serve(t, answerWith(200, body));
  await origin.close();
  const asked = await client(t, [origin.url, good.url]);
  await asked.manifest(repository, 'v1', { accept: 'a' });
  t.match(asked.status(), [
    { url: origin.url, reachable: false },
    { url: good.url, reachable: true },
  ]);
  const alone = await client(t, [origin.url]);
  await t.rejects(alone.blobSize(repository, digest, {}), { code: 'UNAVAILABLE' });
  await t.rejects(alone.blobSize(repository, digest, {}), { message: /unreachable a moment ago/ });
});

t.test(
  'a silent origin is passed over when another can be asked, and slow work of one that lives is waited for',
  async (t) => {
    const silent = await serve(t, () => undefined);
    const good = await serve(t, answerWith(200, body));
    const asked = await client(t, [silent.url, good.url]);
    t.match(await asked.manifest(repository, 'v1', { accept: 'a' }), { digest });
    t.same(silent.seen, ['GET /v2/team/app/manifests/v1?ns=docker.io', 'GET /healthz']);
    t.match(asked.status(), [
      { url: silent.url, reachable: false },
      { url: good.url, reachable: true },
    ]);
    t.match(await asked.manifest(repository, 'v1', { accept: 'a' }), { digest });
    t.equal(silent.seen.length, 2, 'it is left alone for a while');

    const slow = await serve(t, async (request, response) => {
      // Longer than the patience with one that gives no sign of life.
      if (request.url !== '/healthz') await new Promise((resolve) => setTimeout(resolve, 950));
      answerWith(200, body)(request, response);
    });
    const patient = await client(t, [slow.url, good.url]);
    const before = good.seen.length;
    t.match(await patient.manifest(repository, 'v1', { accept: 'a' }), { digest });
    t.equal(good.seen.length, before, 'nobody else was asked');
  },
);

t.test('an origin that is only busy is waited for when nobody else has an answer', async (t) => {
  const busy = await serve(t, async (_request, response) => {
    await new Promise((resolve) => setTimeout(resolve, 1_400));
    answerWith(200, body)(_request, response);
  });
  const dead = await serve(t, answerWith(200, body));
  await dead.close();
  const http = await createHttpClient({ connectTimeoutMs: 1_000, stallTimeoutMs: 10_000 });
  t.teardown(() => http.close());
  const asked = createOriginClient({ origins: fixedEndpoints([busy.url, dead.url]), http, bare: http, log });
  t.match(await asked.manifest(repository, 'v1', { accept: 'a' }), { digest });
  // While it is left alone, too.
  t.match(await asked.manifest(repository, 'v1', { accept: 'a' }), { digest });
});

t.test('what digests name is spread over the origins, the same for every agent, a tag never', async (t) => {
  const origins = [0, 1, 2].map((number) => ({ name: `http://origin${number}` }));
  const paths = Array.from(
    { length: 300 },
    (_, number) => `blobs/${sha256DigestOf(Buffer.from(`${number}`))}`,
  );
  const first = (path: string, list = origins): string | undefined => orderFor(list, path, 'spread')[0]?.name;
  const counts = origins.map(({ name }) => paths.filter((path) => first(path) === name).length);
  t.ok(
    counts.every((count) => count > 50),
    `${counts}`,
  );
  const reversed = [...origins].reverse();
  t.ok(paths.every((path) => first(path) === first(path, reversed)));
  const fewer = origins.slice(0, 2);
  t.ok(paths.every((path) => first(path) === 'http://origin2' || first(path) === first(path, fewer)));
  t.same(orderFor(origins, 'manifests/v1', 'spread'), origins);
  t.ok(paths.every((path) => orderFor(origins, path, 'listed') === origins));
});

t.test('an origin that accepts and never answers is given up', async (t) => {
  const silent = await serve(t, () => undefined);
  const asked = await client(t, [silent.url]);
  await t.rejects(asked.blobSize(repository, digest, {}), { code: 'UNAVAILABLE' });
});
