/**
 * The door for incoming connections: reads the 68 bytes of the handshake (BEP 3) before anything is
 * opened for them, so that a stranger costs a socket for ten seconds and no more. Nothing of the
 * socket is consumed when it is handed on.
 */
import type { Server, Socket } from 'node:net';
import { type InfoHash, parseInfoHash } from '#torrent';

const HANDSHAKE_BYTES = 68;
const HANDSHAKE_MS = 10_000;
const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1');
/** Connections whose handshake or blob is being waited for. */
const MAX_PENDING = 256;
const MAX_PENDING_A_HOST = 64;

export interface Introduction {
  readonly socket: Socket;
  readonly infoHash: InfoHash;
  /** Hex. */
  readonly peerId: string;
  readonly host: string;
  readonly port: number;
}

export interface Gate {
  /** Connections that have not been handed on. */
  pending(): number;
  close(): void;
}

/**
 * `admit` takes the socket over when it resolves to true; otherwise the socket is closed. It is
 * given as long as the handshake had.
 */
export function openGate(options: {
  readonly server: Server;
  readonly hasRoom: () => boolean;
  readonly admit: (introduction: Introduction) => Promise<boolean>;
}): Gate {
  const pending = new Map<Socket, string>();
  let closed = false;

  const receive = async (socket: Socket): Promise<void> => {
    // A listener of both families shows IPv4 members as mapped addresses.
    const host = socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '');
    const port = socket.remotePort;
    if (host === undefined || port === undefined || closed || !options.hasRoom() || crowded(host)) {
      socket.destroy();
      return;
    }
    pending.set(socket, host);
    // Absolute: a byte now and then does not prolong it.
    const deadline = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    try {
      const handshake = await readHandshake(socket);
      const infoHash = handshake && parseInfoHash(handshake.subarray(28, 48).toString('hex'));
      if (!handshake || !infoHash) return;
      const peerId = handshake.subarray(48, 68).toString('hex');
      socket.unshift(handshake);
      if (await options.admit({ socket, infoHash, peerId, host, port })) pending.delete(socket);
    } finally {
      clearTimeout(deadline);
      if (pending.delete(socket)) socket.destroy();
    }
  };

  const crowded = (host: string): boolean => {
    if (pending.size >= MAX_PENDING) return true;
    let same = 0;
    for (const other of pending.values()) if (other === host) same += 1;
    return same >= MAX_PENDING_A_HOST;
  };

  options.server.on('connection', (socket: Socket) => {
    socket.on('error', () => {});
    receive(socket).catch(() => socket.destroy());
  });

  return {
    pending: () => pending.size,
    close: () => {
      closed = true;
      for (const socket of pending.keys()) socket.destroy();
    },
  };
}

/** The handshake, or undefined when it is none or the connection ended. */
function readHandshake(socket: Socket): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const tryRead = (): void => {
    const bytes: unknown = socket.read(HANDSHAKE_BYTES);
    if (!Buffer.isBuffer(bytes)) return;
    const valid = bytes.length === HANDSHAKE_BYTES && bytes.subarray(0, PROTOCOL.length).equals(PROTOCOL);
    resolve(valid ? bytes : undefined);
  };
  const ended = (): void => resolve(undefined);
  socket.on('readable', tryRead);
  socket.once('end', ended);
  socket.once('close', ended);
  return promise.finally(() => {
    socket.off('readable', tryRead);
    socket.off('end', ended);
    socket.off('close', ended);
  });
}
