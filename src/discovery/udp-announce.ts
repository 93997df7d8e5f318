/**
 * Announces over UDP (BEP 15): a socket for each, closed with it. Path and query of the tracker's URL go
 * behind the announce as options (BEP 41), because a tracker with access control finds the passkey there. A
 * datagram may be lost, so each is sent again until the answer comes or the caller's signal ends it.
 */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import type { PeerAddress } from '#swarm';
import {
  type Announce,
  type AnnounceTarget,
  type Answer,
  intervalMs,
  MAX_PEERS,
  PEERS_WANTED,
  type Self,
  toPeer,
  UNREACHABLE_PORT,
} from './announce.ts';

/** Of a connect, in place of a connection id. */
const PROTOCOL_ID = Buffer.from('0000041727101980', 'hex');
const [CONNECT, ANNOUNCE, FAILURE] = [0, 1, 3];
const EVENTS = { completed: 1, started: 2, stopped: 3 } as const;
const URL_DATA = 2;
const MAX_OPTION_BYTES = 255;
/** Doubled with each repetition. The protocol says 15 s; whoever announces here does not wait that long. */
const FIRST_REPEAT_MS = 2_000;
const MAX_REASON_BYTES = 256;
/** Of the tracker's words in front of the peers. */
const HEAD_BYTES = 20;

/** `url`: udp://HOST:PORT, with what else the tracker wants of it. */
export function udpTarget(url: string, self: Self, firstRepeatMs = FIRST_REPEAT_MS): AnnounceTarget {
  const { hostname, port, pathname, search } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const options = urlOptions(pathname + search);
  return {
    url,
    async announce(announce, signal) {
      signal.throwIfAborted();
      const { address, family } = await resolve(host, signal);
      const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
      try {
        // Connected: only this tracker is heard, and one that is not there is noticed at once.
        socket.connect(Number(port), address);
        await once(socket, 'connect', { signal });
        const empty = { body: Buffer.alloc(0), firstRepeatMs };
        const connect = { ...empty, id: PROTOCOL_ID, action: CONNECT, bytes: 16 };
        const id = (await ask(socket, connect, signal)).subarray(8, 16);
        const body = Buffer.concat([announceBody(announce, self), options]);
        const request = { ...empty, id, action: ANNOUNCE, body, bytes: HEAD_BYTES };
        return read(await ask(socket, request, signal), family === 6 ? 16 : 4);
      } finally {
        socket.close();
      }
    },
  };
}

/** IPv4 first: a tracker that listens on one of them does so there. */
async function resolve(host: string, signal: AbortSignal): Promise<{ address: string; family: number }> {
  const ended = new AbortController();
  const given = once(signal, 'abort', { signal: ended.signal }).then(() => Promise.reject(signal.reason));
  given.catch(() => undefined);
  try {
    const found = await Promise.race([lookup(host, { all: true }), given]);
    const best = found.find(({ family }) => family === 4) ?? found[0];
    if (best === undefined) throw new Error(`${host} has no address`);
    return best;
  } finally {
    ended.abort();
  }
}

interface Request {
  /** Of the connection. */
  readonly id: Uint8Array;
  readonly action: number;
  readonly body: Uint8Array;
  /** What an answer has at least. */
  readonly bytes: number;
  readonly firstRepeatMs: number;
}

/** Sends it until it is answered. What is no answer to it is not heard. @throws the tracker's refusal, and what the signal says */
function ask(socket: Socket, asked: Request, signal: AbortSignal): Promise<Buffer> {
  const { id, action, body, bytes } = asked;
  const transaction = randomBytes(4);
  const request = Buffer.concat([id, Buffer.from([0, 0, 0, action]), transaction, body]);
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      socket.off('message', onMessage).off('error', onError);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const onError = (error: Error): void => end(() => reject(error));
    const onAbort = (): void => end(() => reject(signal.reason));
    const onMessage = (message: Buffer): void => {
      if (message.length < 8 || !message.subarray(4, 8).equals(transaction)) return;
      const said = message.readUInt32BE(0);
      if (said === FAILURE) {
        const reason = message.toString('utf8', 8, 8 + MAX_REASON_BYTES);
        end(() => reject(new Error(`the tracker refuses: ${reason}`)));
      } else if (said === action && message.length >= bytes) end(() => resolve(message));
    };
    const send = (afterMs: number): void => {
      socket.send(request, (error) => error && onError(error));
      timer = setTimeout(send, afterMs, 2 * afterMs);
    };
    socket.on('message', onMessage).on('error', onError);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    else send(asked.firstRepeatMs);
  });
}

function announceBody({ infoHash, event, left }: Announce, self: Self): Buffer {
  const numbers = Buffer.alloc(42);
  numbers.writeBigUInt64BE(BigInt(left), 8);
  numbers.writeUInt32BE(event === undefined ? 0 : EVENTS[event], 24);
  numbers.writeInt32BE(event === 'stopped' ? 0 : PEERS_WANTED, 36);
  numbers.writeUInt16BE(self.address?.port ?? UNREACHABLE_PORT, 40);
  return Buffer.concat([Buffer.from(infoHash, 'hex'), Buffer.from(self.peerId, 'hex'), numbers]);
}

/** What is longer than one option may be comes in several. */
function urlOptions(text: string): Buffer {
  const bytes = Buffer.from(text);
  const options: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += MAX_OPTION_BYTES) {
    const part = bytes.subarray(at, at + MAX_OPTION_BYTES);
    options.push(Buffer.from([URL_DATA, part.length]), part);
  }
  return Buffer.concat(options);
}

/** `hostBytes`: the addresses of an answer are of the family that it came by. */
function read(answer: Buffer, hostBytes: 4 | 16): Answer {
  const peers: PeerAddress[] = [];
  const each = hostBytes + 2;
  for (let at = HEAD_BYTES; at + each <= answer.length && peers.length < MAX_PEERS; at += each) {
    const host = answer.subarray(at, at + hostBytes);
    const peer = toPeer(
      hostBytes === 4 ? host.join('.') : (host.toString('hex').match(/.{4}/g) ?? []).join(':'),
      answer.readUInt16BE(at + hostBytes),
    );
    if (peer) peers.push(peer);
  }
  return { intervalMs: intervalMs(answer.readUInt32BE(8)), peers };
}
