/** What clients of the mirror see: paths, headers, namespaces, refusals. */
import { request as httpRequest } from 'node:http';
import t from 'tap';
import {
  agentHere,
  IMAGE_TYPE,
  originHere,
  pull,
  pushBlob,
  pushImage,
  someBytes,
} from '../support/in-process.ts';

const KIB = 1024;

t.test('the base, the tags and the own API', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  await pushImage(origin.url, 'team/app', 'v1', [someBytes(KIB)]);

  for (const path of ['/v2/', '/v2', '/v2/?ns=docker.io']) {
    const base = await pull(agent.url + path);
    t.equal(base.status, 200);
    t.equal(base.bytes.toString(), '{}');
    t.equal(base.headers.get('docker-distribution-api-version'), 'registry/2.0');
  }
  const tags = await pull(`${agent.url}/v2/team/app/tags/list`);
  t.match(JSON.parse(tags.bytes.toString()), { name: 'team/app', tags: ['v1'] });
  const status = await pull(`${agent.url}/api/v1/status`);
  t.match(JSON.parse(status.bytes.toString()), {
    program: 'agent',
    origins: [{ url: origin.url, reachable: true }],
  });
  t.match(JSON.parse((await pull(`${agent.url}/api/v1/openapi.json`)).bytes.toString()), {
    openapi: '3.1.0',
  });
  t.equal((await pull(`${agent.url}/readyz`)).status, 200);
  t.ok((await agent.metric('shoal_mirror_requests_total', { kind: 'base', status: '200' })) >= 3);
});

t.test('a manifest by tag and by digest, HEAD and GET', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(KIB)]);
  for (const reference of ['v1', image.digest]) {
    const url = `${agent.url}/v2/team/app/manifests/${reference}`;
    const head = await fetch(url, { method: 'HEAD' });
    t.equal(head.status, 200);
    t.equal(head.headers.get('content-length'), String(image.manifest.length));
    t.equal(head.headers.get('content-type'), IMAGE_TYPE);
    t.equal(head.headers.get('docker-content-digest'), image.digest);
    const got = await pull(url);
    t.same(got.bytes, image.manifest);
    t.equal(got.headers.get('docker-content-digest'), image.digest);
    const again = await pull(url, { 'if-none-match': got.headers.get('etag') ?? '' });
    t.equal(again.status, 304);
  }
  const unknown = await pull(`${agent.url}/v2/team/app/manifests/v2`);
  t.equal(unknown.status, 404);
  t.match(JSON.parse(unknown.bytes.toString()), { errors: [{ code: 'MANIFEST_UNKNOWN' }] });
});

t.test('a tag is asked of the origin each time', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const first = await pushImage(origin.url, 'team/app', 'latest', [someBytes(KIB)]);
  const url = `${agent.url}/v2/team/app/manifests/latest`;
  t.same((await pull(url)).bytes, first.manifest);
  const second = await pushImage(origin.url, 'team/app', 'latest', [someBytes(KIB)]);
  t.same((await pull(url)).bytes, second.manifest);
});

t.test('without an origin: digests as ever, tags marked as stale, and only for a while', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const strict = await agentHere(t, [origin.url], { staleTagsMs: 0 });
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(KIB)]);
  for (const { url } of [agent, strict]) await pull(`${url}/v2/team/app/manifests/v1`);
  await origin.close();

  const tag = await pull(`${agent.url}/v2/team/app/manifests/v1`);
  t.same(tag.bytes, image.manifest);
  t.match(tag.headers.get('warning'), /^110 /);
  const again = await agent.restart();
  t.same((await pull(`${again.url}/v2/team/app/manifests/v1`)).bytes, image.manifest, 'also after a restart');
  const byDigest = await pull(`${strict.url}/v2/team/app/manifests/${image.digest}`);
  t.same(byDigest.bytes, image.manifest);
  t.equal(byDigest.headers.get('warning'), null);
  const tooOld = await pull(`${strict.url}/v2/team/app/manifests/v1`);
  t.equal(tooOld.status, 503);
  t.match(JSON.parse(tooOld.bytes.toString()), { errors: [{ code: 'UNAVAILABLE' }] });
  t.equal((await pull(`${again.url}/v2/team/app/blobs/sha256:${'0'.repeat(64)}`)).status, 503);
});

t.test('ns and the path prefix name the same image', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const layer = someBytes(300 * KIB);
  const image = await pushImage(origin.url, 'docker.io/library/app', 'v1', [layer]);
  const plain = await pushImage(origin.url, 'library/plain', 'v1', [someBytes(KIB)]);
  const [digest] = image.layers;
  for (const [path, ns] of [
    ['library/app', '?ns=docker.io'],
    ['docker.io/library/app', ''],
    ['docker.io/library/app', '?ns=docker.io'],
  ]) {
    const manifest = await pull(`${agent.url}/v2/${path}/manifests/v1${ns}`);
    t.same(manifest.bytes, image.manifest);
    t.equal(manifest.headers.get('oci-namespace'), ns === '' ? null : 'docker.io');
    const blob = await pull(`${agent.url}/v2/${path}/blobs/${digest}${ns}`);
    t.same(blob.bytes, layer);
  }
  const own = await pull(`${agent.url}/v2/library/plain/manifests/v1?ns=registry.example%3A5000`);
  t.same(own.bytes, plain.manifest, 'the origin has it without the namespace');
  t.equal((await pull(`${agent.url}/v2/app/manifests/v1?ns=a/b`)).status, 400);
});

t.test('what writes is refused with 405', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const digest = `sha256:${'0'.repeat(64)}`;
  for (const [method, path] of [
    ['POST', '/v2/team/app/blobs/uploads/'],
    ['PUT', '/v2/team/app/manifests/v1'],
    ['PATCH', '/v2/team/app/blobs/uploads/1'],
    ['DELETE', `/v2/team/app/blobs/${digest}`],
  ] as const) {
    const answer = await fetch(agent.url + path, { method, ...(method !== 'DELETE' && { body: 'x' }) });
    t.equal(answer.status, 405);
    t.match(await answer.json(), { errors: [{ code: 'UNSUPPORTED' }] });
    t.equal(answer.headers.get('allow'), 'GET, HEAD');
  }
});

t.test('bad input gets the error of the specification', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const unknown = `sha256:${'0'.repeat(64)}`;
  for (const [path, status, code] of [
    ['/v2/team/app/blobs/sha256:12', 400, 'DIGEST_INVALID'],
    [`/v2/team/app/blobs/${unknown}`, 404, 'BLOB_UNKNOWN'],
    ['/v2/team/app/manifests/-bad', 400, 'TAG_INVALID'],
    ['/v2/Team/app/manifests/v1', 400, 'NAME_INVALID'],
    ['/v2/team/app/manifests/sha256:12', 400, 'DIGEST_INVALID'],
    ['/v2/_catalog', 404, 'UNSUPPORTED'],
  ] as const) {
    const answer = await pull(agent.url + path);
    t.equal(answer.status, status, path);
    t.match(JSON.parse(answer.bytes.toString()), { errors: [{ code }] });
  }
});

t.test('the head of a cold blob starts no download', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const bytes = someBytes(700 * KIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const head = await fetch(`${agent.url}/v2/team/app/blobs/${digest}`, { method: 'HEAD' });
  t.equal(head.status, 200);
  t.equal(head.headers.get('content-length'), String(bytes.length));
  t.equal(head.headers.get('docker-content-digest'), digest);
  t.equal(head.headers.get('accept-ranges'), 'bytes');
  t.equal(await agent.metric('shoal_fetch_bytes_total'), 0);
  t.equal(await agent.metric('shoal_cache_blobs'), 0);
  const none = await fetch(`${agent.url}/v2/team/app/blobs/sha256:${'0'.repeat(64)}`, { method: 'HEAD' });
  t.equal(none.status, 404);
});

t.test('content is never encoded, and the request id comes back', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const bytes = Buffer.alloc(600 * KIB);
  const digest = await pushBlob(origin.url, 'team/app', bytes);
  const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
    const asked = httpRequest(
      `${agent.url}/v2/team/app/blobs/${digest}`,
      { headers: { 'accept-encoding': 'zstd, gzip', 'x-request-id': 'pull-1' } },
      (response) => {
        response.resume().once('end', () => resolve(response.headers));
      },
    );
    asked.once('error', reject).end();
  });
  t.equal(headers['content-encoding'], undefined);
  t.equal(headers['content-length'], String(bytes.length));
  t.equal(headers['x-request-id'], 'pull-1');
});
