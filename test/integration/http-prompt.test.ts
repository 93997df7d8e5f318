/** Small answers that somebody waits for, from servers that behave and servers that do not. */
import { randomBytes } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import t, { type Test } from 'tap';
import { createHttpClient, type HttpClient } from '#http';
import { until } from '../support/in-process.ts';
import { listenHere } from '../support/listen.ts';

async function serverWith(t: Test, answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  return `${await listenHere(t, server)}/v2/a/blobs/x?ns=b`;
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
  // A request that is sent in the turn in which the one before it ended takes a second one.
  t.ok(ports.size <= 2, `${ports.size} connections`);
});

t.test('a reader that is slow holds the server back, not memory', async (t) => {
  const chunk = randomBytes(1 << 20);
  let taken = 0;
  const most = 64;
  const url = await serverWith(t, (_request, response) => {
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
  t.ok(length >= (most - 1) << 20);
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
  await t.rejects(http.prompt(silent), { code: 'UND_ERR_HEADERS_TIMEOUT' });

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
    response.writeHead(200).write('first');
  });
  const { body } = await http.prompt(endless);
  for await (const part of body) {
    t.equal(part.toString(), 'first');
    break;
  }
  await until(() => closed);
});
