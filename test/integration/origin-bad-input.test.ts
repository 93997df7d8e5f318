/** Whatever a client sends, it gets the specification's answer, and the next request is served. */
import { once } from 'node:events';
import net from 'node:net';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { startOrigin } from '#origin';
import { createLogger, createMetrics } from '#telemetry';
import { pushBlob, temporaryFolder, testOrigin } from '../support/origin.ts';

const zeros = `sha256:${'0'.repeat(64)}`;

t.test('paths, names, references and methods', async (t) => {
  const origin = await testOrigin(t);
  for (const [method, where, status, code] of [
    ['GET', '/v2/nothing', 404, 'UNSUPPORTED'],
    ['GET', '/v2/a/unknown/x', 404, 'UNSUPPORTED'],
    ['GET', '/v2/_catalog/x', 404, 'UNSUPPORTED'],
    ['GET', '/v2/A/tags/list', 400, 'NAME_INVALID'],
    ['GET', '/v2/a//b/tags/list', 400, 'NAME_INVALID'],
    ['GET', '/v2/%2e%2e%2fx/tags/list', 400, 'NAME_INVALID'],
    ['GET', '/v2/a%00b/tags/list', 400, 'NAME_INVALID'],
    ['GET', `/v2/${'a'.repeat(256)}/tags/list`, 400, 'NAME_INVALID'],
    ['GET', `/v2/${'a/'.repeat(2000)}a/tags/list`, 400, 'NAME_INVALID'],
    ['GET', '/v2/%zz/tags/list', 400, 'NAME_INVALID'],
    ['GET', '/v2/a/manifests/-x', 400, 'TAG_INVALID'],
    ['GET', '/v2/a/manifests/sha256:1', 400, 'DIGEST_INVALID'],
    ['GET', '/v2/a/blobs/sha256:1', 400, 'DIGEST_INVALID'],
    ['GET', `/v2/a/blobs/${zeros.toUpperCase()}`, 400, 'DIGEST_INVALID'],
    ['GET', `/v2/a/blobs/sha512:${'0'.repeat(64)}`, 400, 'DIGEST_INVALID'],
    ['GET', `/v2/a/blobs/${zeros}`, 404, 'BLOB_UNKNOWN'],
    ['DELETE', `/v2/a/blobs/${zeros}`, 404, 'BLOB_UNKNOWN'],
    ['PUT', `/v2/a/blobs/${zeros}`, 405, 'UNSUPPORTED'],
    ['POST', '/v2/', 405, 'UNSUPPORTED'],
    ['POST', '/v2/a/manifests/v1', 405, 'UNSUPPORTED'],
    ['GET', '/v2/a/blobs/uploads/', 405, 'UNSUPPORTED'],
    ['OPTIONS', '/v2/a/tags/list', 405, 'UNSUPPORTED'],
    ['GET', `/v2/a/blobs/uploads/${'x'.repeat(2000)}`, 404, 'BLOB_UPLOAD_UNKNOWN'],
    ['POST', '/v2/a/blobs/uploads/?digest=zz', 400, 'DIGEST_INVALID'],
  ] as const) {
    const answer = await origin.call(method, where);
    t.same([answer.status, answer.errorCode()], [status, code], `${method} ${where.slice(0, 80)}`);
    t.match(answer.headers['content-type'], /^application\/json/);
  }
  const allow = await origin.call('PUT', '/v2/a/tags/list');
  t.equal(allow.headers['allow'], 'GET, HEAD');
  const elsewhere = await origin.call('GET', '/nothing');
  t.same(
    [elsewhere.status, elsewhere.headers['content-type']?.split(';')[0]],
    [404, 'application/problem+json'],
  );
});

t.test('bodies where none belongs, strange content types, garbage instead of HTTP', async (t) => {
  const origin = await testOrigin(t);
  const digest = await pushBlob(origin, 'a', Buffer.from('content'));
  const head = `GET /v2/a/blobs/${digest} HTTP/1.1\r\nHost: x\r\n`;
  for (const [text, expected] of [
    [`${head}Content-Length: 5\r\n\r\nhello`, /^HTTP\/1\.1 200 /],
    [`${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`, /^HTTP\/1\.1 200 /],
    ['\u0000\u0001\u0002 garbage\r\n\r\n', /^HTTP\/1\.1 400 /],
    ['GET /v2/../../etc/tags/list HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 400 [\s\S]*NAME_INVALID/],
    [`GET /${'x'.repeat(100_000)} HTTP/1.1\r\n\r\n`, /^HTTP\/1\.1 4\d\d /],
    ['PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n', /^HTTP\/1\.1 400 /],
    [
      'PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Type: ;;;\r\n\r\n{',
      /^HTTP\/1\.1 4\d\d /,
    ],
  ] as const) {
    const socket = net.connect(origin.origin.address.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    socket.write(text);
    const [first] = (await once(socket, 'data')) as [Buffer];
    t.match(first.toString('latin1'), expected, text.slice(0, 60));
    socket.destroy();
  }
  t.equal((await origin.call('GET', `/v2/a/blobs/${digest}`)).body.toString(), 'content');
});

t.test('a push that is refused early is answered while its body still comes', async (t) => {
  const origin = await testOrigin(t);
  const socket = net.connect(origin.origin.address.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('PATCH /v2/a/blobs/uploads/none HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nxxx');
  const [first] = (await once(socket, 'data')) as [Buffer];
  t.match(first.toString(), /^HTTP\/1\.1 404 [\s\S]*BLOB_UPLOAD_UNKNOWN/);
  socket.destroy();
});

t.test('listeners beyond the loopback need a word', async (t) => {
  const parts = { log: createLogger({ program: 'origin', level: 'silent' }), metrics: createMetrics() };
  const data = await temporaryFolder(t);
  const loopback = { host: '127.0.0.1', port: 0 };
  const open = { host: '0.0.0.0', port: 0 };
  for (const config of [
    { listen: open },
    { peerListen: open },
    { bittorrentListen: open },
    { udpListen: open },
  ]) {
    const closed = { listen: loopback, peerListen: 'off' as const, bittorrentListen: 'off' as const };
    await t.rejects(startOrigin({ ...closed, ...config, data }, parts), {
      name: 'ConfigError',
      message: /admission open/,
    });
  }
});

t.test('two origins do not share a folder, and a failed start leaves nothing open', async (t) => {
  const first = await testOrigin(t);
  const parts = { log: createLogger({ program: 'origin', level: 'silent' }), metrics: createMetrics() };
  const config = {
    listen: { host: '127.0.0.1', port: 0 },
    peerListen: 'off' as const,
    bittorrentListen: 'off' as const,
    data: first.data,
  };
  await t.rejects(startOrigin(config, parts), /in use by another running program/);
  const data = await temporaryFolder(t);
  const taken = { ...config, data, listen: first.origin.address };
  await t.rejects(startOrigin(taken, { ...parts, metrics: createMetrics() }), { code: 'EADDRINUSE' });
  const next = await testOrigin(t, { data });
  const digest = await pushBlob(next, 'a', Buffer.from('x'));
  t.equal(digest, sha256DigestOf(Buffer.from('x')));
});
