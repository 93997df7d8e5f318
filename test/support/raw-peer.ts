/** A BitTorrent peer made of a bare socket, for tests that must break the protocol. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';
import type { Metainfo } from '#torrent';

const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1');

interface Message {
  readonly id: number;
  readonly payload: Buffer;
}

interface RawPeer {
  readonly socket: Socket;
  /** Messages that came so far, handshake and keep-alives left out. */
  readonly messages: Message[];
  readonly closed: boolean;
  send(bytes: Uint8Array): void;
  /** Waits until the other side has closed. */
  ended(): Promise<void>;
  /** Waits for a message of this id, or for its nth. */
  message(id: number, nth?: number): Promise<Message>;
}

export function handshake(infoHash: string, peerId = '-XX0000-abcdefghijkl', fast = true): Buffer {
  const reserved = Buffer.from([0, 0, 0, 0, 0, 0, 0, fast ? 4 : 0]);
  return Buffer.concat([PROTOCOL, reserved, Buffer.from(infoHash, 'hex'), Buffer.from(peerId, 'latin1')]);
}

/** A message with numbers of four bytes, and bytes after them. */
export function message(
  id: number,
  numbers: readonly number[] = [],
  data: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(5 + 4 * numbers.length);
  head.writeUInt32BE(head.length - 4 + data.length, 0);
  head[4] = id;
  for (const [index, number] of numbers.entries()) head.writeUInt32BE(number >>> 0, 5 + 4 * index);
  return Buffer.concat([head, data]);
}

export const INTERESTED = message(2);
const UNCHOKE = message(1);
export const HAVE_ALL = message(14);

export function request(piece: number, offset: number, length: number): Buffer {
  return message(6, [piece, offset, length]);
}

export async function rawConnect(
  t: Test,
  to: { readonly host: string; readonly port: number },
): Promise<RawPeer> {
  const socket = connect(to.port, to.host);
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  return rawPeer(socket);
}

/** The socket is read, and messages are taken apart, unless the test pauses it. */
function rawPeer(socket: Socket): RawPeer {
  const messages: Message[] = [];
  const waiting = new Set<() => void>();
  let buffered = Buffer.alloc(0);
  let greeted = false;
  let closed = false;
  const wake = (): void => {
    for (const check of waiting) check();
  };
  socket.on('error', () => {});
  socket.on('close', () => {
    closed = true;
    wake();
  });
  socket.on('data', (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk]);
    if (!greeted && buffered.length >= 68) {
      greeted = true;
      buffered = buffered.subarray(68);
    }
    while (greeted && buffered.length >= 4) {
      const length = buffered.readUInt32BE(0);
      if (buffered.length < 4 + length) break;
      if (length > 0) messages.push({ id: buffered[4] ?? -1, payload: buffered.subarray(5, 4 + length) });
      buffered = buffered.subarray(4 + length);
    }
    wake();
  });
  const when = async <T>(what: () => T | undefined): Promise<T> => {
    const now = what();
    if (now !== undefined) return now;
    const { promise, resolve } = Promise.withResolvers<T>();
    const check = (): void => {
      const value = what();
      if (value === undefined) return;
      waiting.delete(check);
      resolve(value);
    };
    waiting.add(check);
    return promise;
  };
  return {
    socket,
    messages,
    get closed() {
      return closed;
    },
    send: (bytes) => {
      if (!socket.destroyed) socket.write(bytes);
    },
    ended: async () => {
      await when(() => (closed ? true : undefined));
    },
    message: (id, nth = 1) =>
      when(() => {
        const found = messages.filter((m) => m.id === id)[nth - 1];
        if (!found && closed) throw new Error(`closed before message ${id}`);
        return found;
      }),
  };
}

interface RawSeed {
  readonly host: string;
  readonly port: number;
  /** Connections that were accepted. */
  connections: number;
  /** Requests that came, over all connections. */
  requests: number;
}

/** Claims to have every piece and answers each request as the test says. */
export async function rawSeed(
  t: Test,
  metainfo: Metainfo,
  answer: (request: {
    readonly piece: number;
    readonly offset: number;
    readonly length: number;
  }) => Buffer | undefined,
): Promise<RawSeed> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    seed.connections += 1;
    const peer = rawPeer(socket);
    let answered = 0;
    socket.write(handshake(metainfo.infoHash, `-XX0000-seed${String(seed.port).padStart(8, '0')}`));
    socket.write(Buffer.concat([HAVE_ALL, UNCHOKE]));
    socket.on('data', () => {
      for (; answered < peer.messages.length; answered++) {
        const { id, payload } = peer.messages[answered] ?? { id: -1, payload: Buffer.alloc(0) };
        if (id !== 6) continue;
        seed.requests += 1;
        const reply = answer({
          piece: payload.readUInt32BE(0),
          offset: payload.readUInt32BE(4),
          length: payload.readUInt32BE(8),
        });
        if (reply) peer.send(reply);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const seed: RawSeed = {
    host: '127.0.0.1',
    port: typeof address === 'object' && address ? address.port : 0,
    connections: 0,
    requests: 0,
  };
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return seed;
}
