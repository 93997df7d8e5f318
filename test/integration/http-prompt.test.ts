/** Small answers that somebody waits for, from servers that behave and servers that do not. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { createHttpClient, type HttpClient } from '#http';
import { until } from '../support/in-process.ts';
import { listenHere } from '../support/listen.ts';

async function serverWith(t: Test, answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  return `${await listenHere(t, server)}/v2/a/blobs/x?ns=b`;
}

/** A server of raw bytes: `answer` is called for each request of each connection, which counts from 1. */
async function rawServerWith(t: Test, answer: (socket: Socket, nth: number) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    const nth = sockets.size;
    socket.on('error', () => undefined);
    socket.on('data', () => answer(socket, nth));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function client(t: Test, stallTimeoutMs = 10_000): Promise<HttpClient> {
  const made = await createHttpClient({ connectTimeoutMs: 5_000, stallTimeoutMs });
  t.teardown(() => made.close());
  return made;
}

t.test('status, headers and body; connections are kept', async (t) => {
  const bytes = randomBytes(700_000);
  const ports = new Set<number | undefined>();
  const asked: string[] = [];
  const url = await serverWith(t, (request, response) => {
    ports.add(request.socket.remotePort);
    asked.push(
      `${request.method} ${request.url} ${request.headers.range} ${request.headers['x-request-id']}`,
    );
    response.writeHead(206, { 'content-length': bytes.length, 'x-a': ['1', '2'] }).end(bytes);
  });
  const http = await client(t);
  for (let time = 0; time < 6; time += 1) {
    const answer = await http.prompt(url, { headers: { range: 'bytes=5-' }, requestId: 'r1' });
    t.equal(answer.status, 206);
    t.equal(answer.headers['x-a'], '1, 2');
    t.ok((await http.read(answer, bytes.length)).equals(bytes));
  }
  t.same([...new Set(asked)], ['GET /v2/a/blobs/x?ns=b bytes=5- r1']);
  t.equal(ports.size, 1, 'one connection');
});

t.test('answers without a body, and requests at the same time', async (t) => {
  let connections = 0;
  const server = createServer((request, response) => {
    const status = Number(request.headers['x-status']);
    if (status === 304) response.writeHead(304, { 'content-length': 4 }).end();
    else
      response
        .writeHead(status, { 'content-length': status === 204 ? 0 : 4 })
        .end(status === 204 ? '' : 'body');
  });
  server.on('connection', () => {
    connections += 1;
  });
  const url = await listenHere(t, server);
  const http = await client(t);
  const ask = async (status: number): Promise<string> => {
    const answer = await http.prompt(url, { headers: { 'x-status': String(status) } });
    t.equal(answer.status, status);
    return (await http.read(answer, 100)).toString();
  };
  t.same(await Promise.all([200, 304, 404, 204, 200].map(ask)), ['body', '', 'body', '', 'body']);
  t.equal(connections, 5);
  for (const status of [304, 200, 204, 404]) await ask(status);
  t.equal(connections, 5, 'they are used again');
});

t.test('a kept connection that the server has closed, before the request or when it comes', async (t) => {
  let answered = 0;
  const server = createServer((request, response) => {
    // The second request of a connection is not answered.
    if (served.has(request.socket)) {
      request.socket.destroy();
      return;
    }
    served.add(request.socket);
    answered += 1;
    response.writeHead(200, { 'content-length': 4 }).end('body');
  });
  const served = new Set<Socket>();
  const url = await listenHere(t, server);
  const http = await client(t);
  for (let time = 0; time < 3; time += 1) {
    t.equal((await http.read(await http.prompt(url), 100)).toString(), 'body');
  }
  t.equal(answered, 3, 'it is asked again over a new one');
  const open = [...served].filter((socket) => !socket.destroyed);
  t.equal(open.length, 1);
  const ended = open.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  server.closeAllConnections();
  await Promise.all(ended);
  t.equal((await http.read(await http.prompt(url), 100)).toString(), 'body');
});

t.test('an answer that says `close`, and one of HTTP/1.0', async (t) => {
  const asked: number[] = [];
  const url = await rawServerWith(t, (socket, nth) => {
    asked.push(nth);
    const version = nth === 1 ? '1.0' : '1.1';
    const close = nth === 2 ? 'Connection: keep-alive, Close\r\n' : '';
    socket.write(`HTTP/${version} 200 OK\r\n${close}content-length: 2\r\n\r\nok`);
  });
  const http = await client(t);
  for (let time = 0; time < 4; time += 1) {
    t.equal((await http.read(await http.prompt(url), 100)).toString(), 'ok');
  }
  t.same(asked, [1, 2, 3, 3], 'neither is used again, the third is');
});

t.test('more than was said is refused, and not taken for the next answer', async (t) => {
  const answer = (body: string): string => `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n${body}`;
  const url = await rawServerWith(t, (socket, nth) => {
    socket.write(nth === 1 ? `${answer('ok')}${answer('no')}` : answer('ok'));
  });
  const http = await client(t);
  const get = async (): Promise<string> => (await http.read(await http.prompt(url), 100)).toString();
  await t.rejects(get(), /longer than was said/);
  t.equal(await get(), 'ok', 'over another connection');
});

t.test(
  'a server of other framing is asked again by the general client, and by it alone from then on',
  async (t) => {
    let requests = 0;
    const url = await serverWith(t, (_request, response) => {
      requests += 1;
      response.writeHead(200);
      response.write('in ');
      response.end('chunks');
    });
    const http = await client(t);
    for (let time = 0; time < 2; time += 1) {
      t.equal((await http.read(await http.prompt(url), 100)).toString(), 'in chunks');
    }
    t.equal(requests, 3);
  },
);

t.test('a client that is closed', async (t) => {
  const url = await serverWith(t, () => undefined);
  const http = await createHttpClient({});
  const given = http.prompt(url);
  await http.close();
  await t.rejects(given, /closed/);
  await t.rejects(http.prompt(url), /closed/);
});

t.test('a reader that is slow holds the server back, not memory', async (t) => {
  const chunk = randomBytes(1 << 20);
  let taken = 0;
  const most = 64;
  const url = await serverWith(t, (_request, response) => {
    response.writeHead(200, { 'content-length': most * chunk.length });
    const more = (): void => {
      while (taken < most && response.write(chunk)) taken += 1;
      if (taken < most) response.once('drain', more);
      else response.end();
      taken += 1;
    };
    more();
  });
  const http = await client(t);
  const { body } = await http.prompt(url);
  let before = -1;
  // Until nothing moves any more.
  await until(async () => {
    const same = taken === before;
    before = taken;
    if (!same) await new Promise((resolve) => setTimeout(resolve, 200));
    return same;
  });
  t.ok(taken < most / 2, `${taken} MiB were taken and nobody read`);
  let length = 0;
  for await (const part of body) length += part.length;
  t.equal(length, most << 20);
});

t.test('a body that is cut, a silent server, and an answer that is given up', async (t) => {
  const cut = await serverWith(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('some', () => response.destroy());
  });
  const http = await client(t, 300);
  const answer = await http.prompt(cut);
  await t.rejects(http.read(answer, 1000));

  const silent = await serverWith(t, () => undefined);
  await t.rejects(http.prompt(silent), /nothing came for 300 ms/);

  const stop = new AbortController();
  const given = http.prompt(silent, { signal: stop.signal });
  stop.abort(new Error('enough'));
  await t.rejects(given, /enough/);
  await t.rejects(http.prompt(silent, { signal: stop.signal }), /enough/, 'before it began');

  let closed = false;
  const endless = await serverWith(t, (_request, response) => {
    response.once('close', () => {
      closed = true;
    });
    response.writeHead(200, { 'content-length': 100 }).write('first');
  });
  const { body } = await http.prompt(endless);
  for await (const part of body) {
    t.equal(part.toString(), 'first');
    break;
  }
  await until(() => closed);
});
