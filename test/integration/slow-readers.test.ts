/** Clients that take a blob slowly, not at all, or go away: memory is bounded, and nothing stays open. */
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { call } from '../support/origin.ts';
import { startProgram } from '../support/shoal.ts';

const MIB = 1024 * 1024;
const CLIENTS = 100;
/** 64 MiB of large parts, two small ones a client, and what the connections and the collector need. */
const MOST_GROWTH_MIB = 64 + (CLIENTS * 2) / 16 + 60;

const bytes = randomFillSync(Buffer.alloc(48 * MIB));
const digest = sha256DigestOf(bytes);
const blob = `/v2/slow/blobs/${digest}`;

async function originWithBlob(t: Parameters<typeof startProgram>[0]) {
  const origin = await startProgram(t, 'origin');
  const target = `${origin.url}/v2/slow/blobs/uploads/?digest=${digest}`;
  t.equal((await call('POST', target, { body: bytes })).status, 201);
  const openBlobs = async (): Promise<number> => {
    const folder = `/proc/${origin.pid}/fd`;
    const targets = (await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => ''));
    return (await Promise.all(targets)).filter((name) => name.endsWith(digest.slice('sha256:'.length)))
      .length;
  };
  const none = async (): Promise<boolean> => {
    for (let attempt = 0; attempt < 200; attempt += 1) {
      if ((await openBlobs()) === 0) return true;
      await delay(50);
    }
    return false;
  };
  const port = Number(new URL(origin.url).port);
  return { origin, port, openBlobs, none };
}

/** Asks for the blob so many times at once, and reads nothing. */
async function askAndWait(t: Parameters<typeof startProgram>[0], port: number, times: number) {
  const socket = net.connect({ port, host: '127.0.0.1' });
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.pause();
  socket.write(`GET ${blob} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(times));
  return socket;
}

async function residentMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024;
}

t.test('memory is bounded when a hundred clients do not read', async (t) => {
  const { origin, port, openBlobs, none } = await originWithBlob(t);
  t.ok((await call('GET', origin.url + blob)).body.equals(bytes), 'a pull to start with');
  const before = await residentMib(origin.pid);
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => askAndWait(t, port, 1)));
  let most = 0;
  for (let step = 0; step < 30; step += 1) {
    most = Math.max(most, await residentMib(origin.pid));
    await delay(100);
  }
  t.equal(await openBlobs(), CLIENTS, 'all wait');
  t.ok(most - before < MOST_GROWTH_MIB, `grew from ${before} to ${most} MiB`);
  t.ok((await call('GET', origin.url + blob)).body.equals(bytes), 'others are served meanwhile');

  for (const socket of sockets) socket.destroy();
  t.ok(await none(), 'every file is closed');
  t.ok((await call('GET', origin.url + blob)).body.equals(bytes), 'and the next client is served');
});

t.test('answers that wait behind another on a connection end with it', async (t) => {
  const { origin, port, openBlobs, none } = await originWithBlob(t);
  const socket = await askAndWait(t, port, 3);
  for (let attempt = 0; attempt < 100 && (await openBlobs()) === 0; attempt += 1) await delay(20);
  await delay(500);
  socket.destroy();
  t.ok(await none(), 'every file is closed');
  t.ok((await call('GET', origin.url + blob)).body.equals(bytes));
});
