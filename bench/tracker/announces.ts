/** Standard announces as fast as a tracker answers them, over HTTP (BEP 3, 23) and UDP (BEP 15). */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { percent } from './agents.ts';
import { openConnection } from './connection.ts';

/** Members that announce, each a blob; the same members again and again. */
const MEMBERS = 20_000;
const CONNECTIONS = 64;
const SOCKETS = 16;
/** Datagrams that a socket has under way; one that is lost is made up for. */
const WINDOW = 16;
const LOST_MS = 500;

export type Announces = (port: number, blobs: readonly string[], seconds: number) => Promise<number>;

/** Answered announces in so many seconds, over connections that are kept if the tracker keeps them. */
export async function announceOverHttp(
  port: number,
  blobs: readonly string[],
  seconds: number,
): Promise<number> {
  const requests = Array.from({ length: MEMBERS }, (_, number) => {
    const blob = blobs[number % blobs.length] ?? '';
    const query = `info_hash=${percent(blob)}&peer_id=${percent(randomBytes(20).toString('hex'))}&port=${1_024 + number}&uploaded=0&downloaded=0&left=1&compact=1&numwant=50`;
    return `GET /announce?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
  });
  let [next, answered] = [0, 0];
  const until = performance.now() + seconds * 1000;
  const work = async (): Promise<void> => {
    const connection = openConnection(port);
    while (performance.now() < until) {
      const status = await connection.request(requests[next++ % MEMBERS] ?? '').catch(() => 0);
      if (status === 200) answered += 1;
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, work));
  return answered;
}

export async function announceOverUdp(
  port: number,
  blobs: readonly string[],
  seconds: number,
): Promise<number> {
  const until = performance.now() + seconds * 1000;
  const counts = await Promise.all(
    Array.from({ length: SOCKETS }, async (_, number) => {
      const socket = createSocket('udp4');
      socket.connect(port, '127.0.0.1');
      await once(socket, 'connect');
      const hello = Buffer.alloc(16);
      Buffer.from('0000041727101980', 'hex').copy(hello);
      socket.send(hello);
      const [answer] = (await once(socket, 'message')) as [Buffer];
      const answered = await announceOn(socket, answer.subarray(8, 16), { number, blobs, until });
      socket.close();
      return answered;
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

function announceOn(
  socket: Socket,
  connectionId: Buffer,
  work: { readonly number: number; readonly blobs: readonly string[]; readonly until: number },
): Promise<number> {
  const messages = Array.from({ length: Math.floor(MEMBERS / SOCKETS) }, (_, index) => {
    const message = Buffer.alloc(98);
    connectionId.copy(message);
    message.writeUInt32BE(1, 8);
    message.write(work.blobs[index % work.blobs.length] ?? '', 16, 'hex');
    randomBytes(20).copy(message, 36);
    message.writeBigUInt64BE(1n, 64);
    message.writeInt32BE(50, 92);
    message.writeUInt16BE(1_024 + work.number * 2_000 + index, 96);
    return message;
  });
  return new Promise((resolve) => {
    let [next, answered, lastAt] = [0, 0, performance.now()];
    const send = (): void => {
      const message = messages[next++ % messages.length];
      if (message !== undefined) socket.send(message);
    };
    const lost = setInterval(() => {
      if (performance.now() > work.until) {
        clearInterval(lost);
        resolve(answered);
      } else if (performance.now() - lastAt > LOST_MS) {
        for (let index = 0; index < WINDOW; index += 1) send();
      }
    }, LOST_MS / 5);
    socket.on('message', (answer: Buffer) => {
      lastAt = performance.now();
      if (answer.readUInt32BE(0) === 1) answered += 1;
      if (lastAt < work.until) send();
    });
    for (let index = 0; index < WINDOW; index += 1) send();
  });
}
