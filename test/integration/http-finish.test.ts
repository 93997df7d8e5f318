/** A reader that has enough says so: what the server then still sends is received, and both count the same. */
import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { createHttpClient, createHttpServer, type HttpBody, sendBody } from '#http';
import { createLogger, createMetrics } from '#telemetry';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;

interface Scene {
  readonly url: string;
  /** Resolves with the bytes that the server counted for the next answer, when that is over. */
  sent(): Promise<number>;
}

/** A server of a large body that does not repeat, counted as programs count it. */
async function serve(t: Test): Promise<Scene> {
  const server = await createHttpServer({
    listen: { host: '127.0.0.1', port: 0 },
    log: createLogger({ program: 'test', level: 'silent' }),
    metrics: createMetrics(),
  });
  t.teardown(() => server.close(0));
  let next = Promise.withResolvers<number>();
  server.app.get('/body', async (_request, reply) => {
    let counted = 0;
    const { resolve } = next;
    next = Promise.withResolvers<number>();
    const { socket } = reply.raw;
    if (!socket) throw new Error('the answer has no socket');
    reply.raw.once('close', () => setImmediate(() => resolve(counted)));
    reply.header('content-length', SIZE);
    const source = {
      async read(position: number, into: Uint8Array): Promise<void> {
        into.fill(Math.floor(position / 1000) & 0xff);
      },
    };
    await sendBody(reply, source, { start: 0, end: SIZE }, (bytes) => {
      counted += bytes;
    });
    return reply;
  });
  const { port } = await server.start();
  return {
    url: `http://127.0.0.1:${port}/body`,
    sent: () => next.promise,
  };
}

/** Reads so much, then has enough. Answers with all that came. */
async function readUntil(body: HttpBody, enough: number): Promise<number> {
  let received = 0;
  let finished = false;
  for await (const chunk of body) {
    received += chunk.length;
    if (finished || received < enough) continue;
    finished = true;
    t.ok(body.finish, 'can be told');
    body.finish?.();
  }
  return received;
}

async function checkCounts(t: Test, scene: Scene): Promise<void> {
  const http = await createHttpClient({});
  t.teardown(() => http.close());
  for (const get of [http.stream, http.prompt]) {
    for (const enough of [1, MIB, 10 * MIB]) {
      const sent = scene.sent();
      const received = await readUntil((await get(scene.url)).body, enough);
      t.equal(received, await sent, `after ${enough} bytes`);
      t.ok(received >= enough && received < SIZE, 'ended early');
    }
    const sent = scene.sent();
    const received = await readUntil((await get(scene.url)).body, SIZE);
    t.equal(received, SIZE, 'a whole body ends whole');
    t.equal(await sent, SIZE);
  }
}

t.test('what is on its way is received and counted on both sides', async (t) => {
  await checkCounts(t, await serve(t));
});

t.test('a server that dies meanwhile ends it too', async (t) => {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nsome');
    socket.once('end', () => socket.resetAndDestroy());
    socket.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/`;
  const http = await createHttpClient({});
  t.teardown(() => http.close());
  for (const get of [http.stream, http.prompt]) {
    t.equal(await readUntil((await get(url)).body, 4), 4);
  }
});
