/** Pushing blobs, by every way that the distribution specification has, and by every wrong one. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { beginUpload, pushBlob, type TestOrigin, testOrigin } from '../support/origin.ts';

const bytes = randomBytes(300_000);
const digest = sha256DigestOf(bytes);
const chunked = (from: number, to: number) => ({
  headers: { 'content-range': `${from}-${to - 1}`, 'content-type': 'application/octet-stream' },
  body: bytes.subarray(from, to),
});

/** Sends a request head and part of a body by hand, so that the test decides when the client vanishes. */
async function sendPart(origin: TestOrigin, head: string, part: Uint8Array): Promise<net.Socket> {
  const socket = net.connect(origin.origin.address.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  socket.write(head.replaceAll('\n', '\r\n'));
  socket.write(part);
  return socket;
}

async function receivedBytes(origin: TestOrigin, location: string): Promise<number> {
  const { headers } = await origin.call('GET', location);
  const last = Number(headers['range']?.split('-')[1]);
  return last === 0 ? 0 : last + 1;
}

async function untilReceived(origin: TestOrigin, location: string, size: number): Promise<void> {
  while ((await receivedBytes(origin, location)) < size) await delay(10);
}

t.test('in one POST', async (t) => {
  const origin = await testOrigin(t);
  const answer = await origin.call('POST', `/v2/a/b/blobs/uploads/?digest=${digest}`, { body: bytes });
  t.equal(answer.status, 201);
  t.equal(answer.headers['location'], `/v2/a/b/blobs/${digest}`);
  t.equal(answer.headers['docker-content-digest'], digest);
  const pulled = await origin.call('GET', answer.headers['location'] ?? '');
  t.ok(pulled.body.equals(bytes));
  t.equal(await origin.metric('shoal_origin_blob_bytes_total', { direction: 'in' }), bytes.length);

  const wrong = await origin.call(
    'POST',
    `/v2/a/b/blobs/uploads/?digest=${sha256DigestOf(Buffer.from('x'))}`,
    {
      body: bytes,
    },
  );
  t.same([wrong.status, wrong.errorCode()], [400, 'DIGEST_INVALID']);
});

t.test('by POST and PUT, also with a body of unknown length, and an empty blob', async (t) => {
  const origin = await testOrigin(t);
  for (const body of [bytes, Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)])]) {
    const location = await beginUpload(origin, 'a');
    t.match(location, /^\/v2\/a\/blobs\/uploads\/[\w-]+$/);
    const answer = await origin.call('PUT', `${location}?digest=${digest}`, { body });
    t.equal(answer.status, 201);
    t.equal((await origin.call('GET', location)).errorCode?.(), 'BLOB_UPLOAD_UNKNOWN', 'the session is over');
  }
  const nothing = Buffer.alloc(0);
  const empty = await pushBlob(origin, 'a', nothing);
  const pulled = await origin.call('GET', `/v2/a/blobs/${empty}`);
  t.same([pulled.status, pulled.headers['content-length']], [200, '0']);
});

t.test('in chunks, with the position checked and told', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'a');
  const id = location.split('/').at(-1);
  const fresh = await origin.call('GET', location);
  t.same([fresh.status, fresh.headers['range']], [204, '0-0']);

  const first = await origin.call('PATCH', location, chunked(0, 100_000));
  t.equal(first.status, 202);
  t.match(first.headers, { range: '0-99999', location, 'docker-upload-uuid': id });

  for (const [from, to] of [
    [0, 100_000],
    [150_000, 200_000],
  ] as const) {
    const wrong = await origin.call('PATCH', location, chunked(from, to));
    t.same([wrong.status, wrong.errorCode()], [416, 'RANGE_INVALID']);
    t.match(wrong.headers, { range: '0-99999', location });
  }
  const status = await origin.call('GET', location);
  t.match(status.headers, { range: '0-99999', location, 'docker-upload-uuid': id });
  t.equal(status.status, 204);

  t.equal((await origin.call('PATCH', location, chunked(100_000, 200_000))).status, 202);
  const last = await origin.call('PUT', `${location}?digest=${digest}`, chunked(200_000, bytes.length));
  t.equal(last.status, 201);
  t.ok((await origin.call('GET', `/v2/a/blobs/${digest}`)).body.equals(bytes));
});

t.test('as docker and podman stream it: PATCH without a range, PUT without a body', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'a');
  t.equal((await origin.call('PATCH', location, { body: Readable.from([bytes]) })).status, 202);
  t.equal((await origin.call('PUT', `${location}?digest=${digest}`)).status, 201);
});

t.test('cancelled', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'a');
  await origin.call('PATCH', location, chunked(0, 1000));
  t.equal((await origin.call('DELETE', location)).status, 204);
  for (const method of ['GET', 'PATCH', 'PUT', 'DELETE'] as const) {
    const answer = await origin.call(method, `${location}?digest=${digest}`);
    t.same([answer.status, answer.errorCode()], [404, 'BLOB_UPLOAD_UNKNOWN'], method);
  }
});

t.test('mounted from another repository, or else begun as an upload', async (t) => {
  const origin = await testOrigin(t);
  await pushBlob(origin, 'source/repo', bytes);
  t.equal((await origin.call('HEAD', `/v2/target/blobs/${digest}`)).status, 404);
  const mounted = await origin.call('POST', `/v2/target/blobs/uploads/?mount=${digest}&from=source/repo`);
  t.equal(mounted.status, 201);
  t.match(mounted.headers, { location: `/v2/target/blobs/${digest}`, 'docker-content-digest': digest });
  t.ok((await origin.call('GET', `/v2/target/blobs/${digest}`)).body.equals(bytes));
  const unknown = sha256DigestOf(Buffer.from('unknown'));
  for (const query of [
    `mount=${digest}&from=none`,
    `mount=${unknown}&from=source/repo`,
    `mount=${digest}`,
    // What cannot be mounted is pushed instead, whatever was wrong with it.
    `mount=${digest}&from=Not/A:Name`,
    'mount=sha256:zz&from=source/repo',
  ]) {
    const answer = await origin.call('POST', `/v2/other/blobs/uploads/?${query}`);
    t.equal(answer.status, 202, query);
    t.match(answer.headers['location'], /^\/v2\/other\/blobs\/uploads\//);
  }
  t.equal((await origin.call('HEAD', `/v2/other/blobs/${digest}`)).status, 404);
});

t.test('a wrong digest leaves the upload usable', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'a');
  await origin.call('PATCH', location, { body: bytes });
  const other = sha256DigestOf(Buffer.from('other'));
  for (const [query, code] of [
    [`?digest=${other}`, 'DIGEST_INVALID'],
    ['?digest=sha256:12', 'DIGEST_INVALID'],
    ['?digest=md5:d41d8cd98f00b204e9800998ecf8427e', 'DIGEST_INVALID'],
    ['', 'DIGEST_INVALID'],
  ] as const) {
    const answer = await origin.call('PUT', `${location}${query}`);
    t.same([answer.status, answer.errorCode()], [400, code], query);
  }
  t.equal((await origin.call('HEAD', `/v2/a/blobs/${other}`)).status, 404);
  t.equal((await origin.call('PUT', `${location}?digest=${digest}`)).status, 201);
});

t.test('an upload belongs to its repository', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'mine');
  await origin.call('PATCH', location, chunked(0, 1000));
  const foreign = location.replace('/v2/mine/', '/v2/yours/');
  for (const method of ['GET', 'PATCH', 'PUT', 'DELETE'] as const) {
    const answer = await origin.call(method, `${foreign}?digest=${digest}`);
    t.same([answer.status, answer.errorCode()], [404, 'BLOB_UPLOAD_UNKNOWN'], method);
  }
  t.equal((await origin.call('GET', location)).headers['range'], '0-999', 'and is not disturbed');
  for (const id of ['..', '%2e%2e%2fx', 'a'.repeat(65), 'nope']) {
    const answer = await origin.call('PATCH', `/v2/mine/blobs/uploads/${id}`, { body: 'x' });
    t.equal(answer.status, 404, id);
  }
});

t.test('lengths that do not agree are refused', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'a');
  const send = (range: string, body: Uint8Array | Readable) =>
    origin.call('PATCH', location, { headers: { 'content-range': range }, body });
  const declared = await send('0-99', bytes.subarray(0, 50));
  t.same([declared.status, declared.errorCode()], [400, 'SIZE_INVALID']);
  t.equal(await receivedBytes(origin, location), 0, 'nothing of it was taken');
  const short = await send('0-99', Readable.from([bytes.subarray(0, 50)]));
  t.same([short.status, short.errorCode()], [400, 'SIZE_INVALID']);
  t.equal(await receivedBytes(origin, location), 50, 'what came in its place is kept');
  const long = await send('50-99', Readable.from([bytes.subarray(50, 100), bytes.subarray(100, 200)]));
  t.same([long.status, long.errorCode()], [400, 'SIZE_INVALID']);
  t.equal(await receivedBytes(origin, location), 100, 'what was too much is not');
  const malformed = await send('from here', bytes.subarray(0, 10));
  t.same([malformed.status, malformed.errorCode()], [400, 'BLOB_UPLOAD_INVALID']);
  const rest = await origin.call('PUT', `${location}?digest=${digest}`, chunked(100, bytes.length));
  t.equal(rest.status, 201);
});

t.test('a client that vanishes loses nothing, and commits nothing', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'a');
  const head = `PUT ${location}?digest=${digest} HTTP/1.1\nHost: x\nContent-Length: ${bytes.length}\n\n`;
  const socket = await sendPart(origin, head, bytes.subarray(0, 100_000));
  await untilReceived(origin, location, 100_000);
  socket.destroy();
  await once(socket, 'close');
  t.equal((await origin.call('HEAD', `/v2/a/blobs/${digest}`)).status, 404);
  const resumed = await origin.call('PUT', `${location}?digest=${digest}`, chunked(100_000, bytes.length));
  t.equal(resumed.status, 201);
  t.ok((await origin.call('GET', `/v2/a/blobs/${digest}`)).body.equals(bytes));
});

t.test('a lost connection that nobody closed does not keep the client from resuming', async (t) => {
  const origin = await testOrigin(t);
  const location = await beginUpload(origin, 'a');
  const head = `PATCH ${location} HTTP/1.1\nHost: x\nContent-Length: ${bytes.length}\n\n`;
  const lost = await sendPart(origin, head, bytes.subarray(0, 100_000));
  t.teardown(() => lost.destroy());
  await untilReceived(origin, location, 100_000);
  const resumed = await origin.call('PUT', `${location}?digest=${digest}`, chunked(100_000, bytes.length));
  t.equal(resumed.status, 201);
});

t.test('an upload goes on after a restart', async (t) => {
  const before = await testOrigin(t);
  const location = await beginUpload(before, 'a');
  await before.call('PATCH', location, chunked(0, 123_456));
  const after = await before.restart();
  t.equal((await after.call('GET', location)).headers['range'], '0-123455');
  const last = await after.call('PUT', `${location}?digest=${digest}`, chunked(123_456, bytes.length));
  t.equal(last.status, 201);
  t.ok((await after.call('GET', `/v2/a/blobs/${digest}`)).body.equals(bytes));
});

t.test('many uploads of the same blob at once all succeed', async (t) => {
  const origin = await testOrigin(t);
  const digests = await Promise.all(
    Array.from({ length: 8 }, (_, index) => pushBlob(origin, `r${index % 3}`, bytes)),
  );
  t.ok(digests.every((entry) => entry === digest));
  for (const name of ['r0', 'r1', 'r2']) {
    t.ok((await origin.call('GET', `/v2/${name}/blobs/${digest}`)).body.equals(bytes));
  }
});
