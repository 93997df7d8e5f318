/** Pulling and deleting blobs. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { pushBlob, testOrigin } from '../support/origin.ts';

const bytes = randomBytes(700_001);
const digest = sha256DigestOf(bytes);
const size = bytes.length;

t.test('GET and HEAD', async (t) => {
  const origin = await testOrigin(t);
  await pushBlob(origin, 'library/app', bytes);
  for (const method of ['GET', 'HEAD'] as const) {
    const answer = await origin.call(method, `/v2/library/app/blobs/${digest}`, {
      headers: { 'accept-encoding': 'zstd, gzip' },
    });
    t.equal(answer.status, 200);
    t.match(answer.headers, {
      'content-length': String(size),
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
      etag: `"${digest}"`,
    });
    t.equal(answer.headers['content-encoding'], undefined);
    t.ok(answer.body.equals(method === 'GET' ? bytes : Buffer.alloc(0)));
  }
  const out = { direction: 'out', via: 'http' };
  t.equal(await origin.metric('shoal_origin_blob_bytes_total', out), size);
});

t.test('ranges', async (t) => {
  const origin = await testOrigin(t);
  await pushBlob(origin, 'a', bytes);
  const get = (range: string, headers: Record<string, string> = {}) =>
    origin.call('GET', `/v2/a/blobs/${digest}`, { headers: { range, ...headers } });
  for (const [range, start, end] of [
    ['bytes=0-0', 0, 0],
    ['bytes=10-1009', 10, 1009],
    ['bytes=262143-', 262143, size - 1],
    ['bytes=-5', size - 5, size - 1],
    [`bytes=100-${size + 5}`, 100, size - 1],
  ] as const) {
    const answer = await get(range);
    t.equal(answer.status, 206, range);
    t.match(answer.headers, {
      'content-range': `bytes ${start}-${end}/${size}`,
      'content-length': String(end - start + 1),
      'docker-content-digest': digest,
    });
    t.ok(answer.body.equals(bytes.subarray(start, end + 1)));
  }
  for (const range of [`bytes=${size}-`, 'bytes=-0', 'bytes=5-1']) {
    const answer = await get(range);
    t.same([answer.status, answer.errorCode()], [416, 'RANGE_INVALID'], range);
    t.equal(answer.headers['content-range'], `bytes */${size}`);
  }
  t.equal((await get('bytes=0-1,5-6')).status, 400);
  for (const range of ['lines=0-1', 'bytes=a-b']) t.equal((await get(range)).status, 200, range);
  t.equal((await get('bytes=0-1', { 'if-range': `"${digest}"` })).status, 206);
  t.equal((await get('bytes=0-1', { 'if-range': '"other"' })).status, 200);
});

t.test('what the client has is not sent again', async (t) => {
  const origin = await testOrigin(t);
  await pushBlob(origin, 'a', bytes);
  for (const [header, status] of [
    [`"${digest}"`, 304],
    [`W/"${digest}"`, 304],
    [`"x", "${digest}"`, 304],
    ['*', 304],
    ['"x"', 200],
  ] as const) {
    const answer = await origin.call('GET', `/v2/a/blobs/${digest}`, {
      headers: { 'if-none-match': header },
    });
    t.equal(answer.status, status, header);
  }
});

t.test('?ns= and a host in the path look in the qualified repository, then in the plain one', async (t) => {
  const origin = await testOrigin(t);
  const other = randomBytes(1000);
  await pushBlob(origin, 'docker.io/library/app', bytes);
  const plain = await pushBlob(origin, 'library/app', other);
  const status = async (where: string): Promise<number> => (await origin.call('HEAD', where)).status;
  t.equal(await status(`/v2/library/app/blobs/${digest}?ns=docker.io`), 200);
  t.equal(await status(`/v2/library/app/blobs/${digest}`), 404);
  t.equal(await status(`/v2/library/app/blobs/${digest}?ns=quay.io`), 404);
  t.equal(await status(`/v2/library/app/blobs/${plain}?ns=docker.io`), 200);
  t.equal(await status(`/v2/library/app/blobs/${plain}?ns=localhost:5000`), 200);
  t.equal(await status(`/v2/docker.io/library/app/blobs/${digest}`), 200);
  t.equal(await status(`/v2/docker.io/library/app/blobs/${plain}`), 200);
  const named = await origin.call('HEAD', `/v2/library/app/blobs/${digest}?ns=docker.io`);
  t.equal(named.headers['oci-namespace'], 'docker.io');
  const bad = await origin.call('GET', `/v2/library/app/blobs/${digest}?ns=../etc`);
  t.same([bad.status, bad.errorCode()], [400, 'NAME_INVALID']);
});

t.test('a blob is of the repositories that it was pushed to, until it is deleted there', async (t) => {
  const origin = await testOrigin(t);
  await pushBlob(origin, 'a', bytes);
  await pushBlob(origin, 'b', bytes);
  const status = async (name: string): Promise<number> =>
    (await origin.call('HEAD', `/v2/${name}/blobs/${digest}`)).status;
  t.same(await Promise.all(['a', 'b', 'c'].map(status)), [200, 200, 404]);
  t.equal((await origin.call('DELETE', `/v2/a/blobs/${digest}`)).status, 202);
  t.same(await Promise.all(['a', 'b'].map(status)), [404, 200]);
  const again = await origin.call('DELETE', `/v2/a/blobs/${digest}`);
  t.same([again.status, again.errorCode()], [404, 'BLOB_UNKNOWN']);
  await origin.call('DELETE', `/v2/b/blobs/${digest}`);
  t.match((await origin.call('GET', '/api/v1/status')).json(), { blobs: { count: 0, bytes: 0 } });
  await pushBlob(origin, 'a', bytes);
  t.equal(await status('a'), 200, 'it can be pushed again');
});

t.test('a client that goes away is counted for what it took', async (t) => {
  const origin = await testOrigin(t);
  const large = randomBytes(64 << 20);
  const name = await pushBlob(origin, 'a', large);
  const request = http.get(`${origin.url}/v2/a/blobs/${name}`);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let got = 0;
  response.on('error', () => undefined);
  for await (const chunk of response as AsyncIterable<Buffer>) {
    got += chunk.length;
    if (got >= 2 << 20) break;
  }
  await once(request, 'close');
  const sent = (): Promise<number> =>
    origin.metric('shoal_origin_blob_bytes_total', { direction: 'out', via: 'http' });
  while ((await sent()) < got - (256 << 10)) await delay(10);
  const counted = await sent();
  // The kernel's buffers of both ends hold a few MiB that were sent and not read.
  t.ok(counted < large.length / 2, `${counted} counted, ${got} read, of ${large.length}`);
});

t.test('a file that changed behind our back is not served, and a push heals it', async (t) => {
  const origin = await testOrigin(t);
  await pushBlob(origin, 'a', bytes);
  const hex = digest.slice('sha256:'.length);
  const folder = path.join(origin.data, 'blobs/sha256', hex.slice(0, 2));
  t.same(await readdir(folder), [hex]);
  await writeFile(path.join(folder, hex), Buffer.alloc(size));
  for (const method of ['GET', 'HEAD'] as const) {
    t.equal((await origin.call(method, `/v2/a/blobs/${digest}`)).status, 404);
  }
  await pushBlob(origin, 'a', bytes);
  t.ok((await origin.call('GET', `/v2/a/blobs/${digest}`)).body.equals(bytes));
});
