/** Large bodies over a connection of their own, from servers that behave and servers that do not. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createHttpClient, type HttpBody, type HttpClient } from '#http';

type Answer = (socket: net.Socket, request: string) => void;

/** A server that answers the first request of each connection with raw bytes. */
async function serverWith(t: Test, answer: Answer): Promise<string> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', (request) => answer(socket, request.toString('latin1')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/a/blobs/x?ns=b`;
}

async function client(t: Test, stallTimeoutMs = 10_000): Promise<HttpClient> {
  const made = await createHttpClient({ connectTimeoutMs: 5_000, stallTimeoutMs });
  t.teardown(() => made.close());
  return made;
}

async function sha256(body: HttpBody): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of body) hash.update(chunk);
  return hash.digest('hex');
}

t.test('a body of several megabytes, whatever pieces it comes in', async (t) => {
  const bytes = randomBytes(5_000_000);
  let asked = '';
  const url = await serverWith(t, (socket, request) => {
    asked = request;
    const head = `HTTP/1.1 206 Partial Content\r\nContent-Length: ${bytes.length}\r\nX-A: 1\r\nx-a: 2\r\n\r\n`;
    socket.write(head.slice(0, 10));
    setImmediate(() => {
      socket.write(head.slice(10));
      socket.end(bytes);
    });
  });
  const answer = await (await client(t)).stream(url, { headers: { range: 'bytes=5-' }, requestId: 'r1' });
  t.equal(answer.status, 206);
  t.equal(answer.headers['x-a'], '1, 2');
  t.equal(await sha256(answer.body), createHash('sha256').update(bytes).digest('hex'));
  t.match(asked, /^GET \/v2\/a\/blobs\/x\?ns=b HTTP\/1\.1\r\n/);
  t.match(asked, /\r\nrange: bytes=5-\r\n/);
  t.match(asked, /\r\nx-request-id: r1\r\n/);
});

t.test('a body that is cut, too long or encoded is refused', async (t) => {
  const cases: [string, string, RegExp][] = [
    ['cut', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort', /5 bytes before the end/],
    ['too long', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nlonger', /longer/],
    ['encoded', 'HTTP/1.1 206 OK\r\ntransfer-encoding: chunked\r\n\r\n', /encoded/],
    ['of no length', 'HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\n', /Content-Length/],
    ['not HTTP', 'SSH-2.0-OpenSSH\r\n\r\n', /not HTTP/],
    ['nothing', '', /closed before the answer/],
    ['endless headers', `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(10_000)}`, /too long/],
  ];
  const http = await client(t);
  for (const [name, text, reason] of cases) {
    const url = await serverWith(t, (socket) => socket.end(text));
    await t.rejects(
      http.stream(url).then((answer) => sha256(answer.body)),
      { message: reason },
      name,
    );
  }
});

t.test('a refusal is read like any answer', async (t) => {
  const url = await serverWith(t, (socket) => {
    socket.end(
      'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm="x"\r\ncontent-length: 4\r\n\r\nnope',
    );
  });
  const http = await client(t);
  const answer = await http.stream(url);
  t.equal(answer.status, 401);
  t.equal((await http.read(answer, 100)).toString(), 'nope');
});

t.test('who goes silent is given up, before the headers and in the body', async (t) => {
  const http = await client(t, 200);
  await t.rejects(http.stream(await serverWith(t, () => undefined)), { message: /nothing came/ });
  const url = await serverWith(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive.');
  });
  const answer = await http.stream(url);
  await t.rejects(sha256(answer.body), { message: /nothing came/ });
});

t.test('an abort ends the wait and closes the connection', async (t) => {
  const closed = Promise.withResolvers<void>();
  const url = await serverWith(t, (socket) => {
    socket.once('close', () => closed.resolve());
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive.');
  });
  const stop = new AbortController();
  const answer = await (await client(t)).stream(url, { signal: stop.signal });
  const read = sha256(answer.body);
  stop.abort(new Error('no more'));
  await t.rejects(read, { message: 'no more' });
  await closed.promise;
  await t.rejects((await client(t)).stream(url, { signal: stop.signal }), { message: 'no more' });
});

t.test('nobody listens', async (t) => {
  const url = await serverWith(t, (socket) => socket.destroy());
  await t.rejects((await client(t)).stream(url));
});
