/**
 * Announce and scrape over UDP (BEP 15). Connection ids are a keyed hash of the address, so that
 * nobody announces under a forged one or has answers sent to a victim. Before the caller has proved
 * its address no answer is larger than the question.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { HostPort } from '#http';
import type { Logger } from '#telemetry';
import { type InfoHash, parseInfoHash } from '#torrent';
import { type AnnounceRequest, type Announcing, UNKNOWN_BLOB } from './announce.ts';
import { MAX_SCRAPE, type MayAnnounce, NO_PASSKEY, passkeyIn } from './announce-http.ts';
import { type ConnectionIds, createConnectionIds } from './connection-id.ts';
import { plainIp } from './ip.ts';
import { packPeers } from './peer-list.ts';
import { AdmissionError } from './questions.ts';

export interface UdpListener {
  readonly address: HostPort;
  close(): Promise<void>;
}

/** What a datagram is, and what to do with it. */
export type Datagram =
  | { readonly kind: 'drop' }
  | { readonly kind: 'connect'; readonly transaction: number }
  | { readonly kind: 'expired'; readonly transaction: number }
  | { readonly kind: 'invalid'; readonly transaction: number; readonly reason: string }
  | {
      readonly kind: 'announce';
      readonly transaction: number;
      readonly request: AnnounceRequest;
      /** Of the URL that the options of the announce carry (BEP 41). */
      readonly passkey: string | undefined;
    }
  | { readonly kind: 'scrape'; readonly transaction: number; readonly infoHashes: readonly InfoHash[] };

const [CONNECT, ANNOUNCE, SCRAPE, FAILURE] = [0, 1, 2, 3];
/** Of a connect, in place of the connection id. */
const PROTOCOL_ID = Buffer.from('0000041727101980', 'hex');
const ANNOUNCE_BYTES = 98;
/** An announce may carry options (BEP 41). */
const MAX_DATAGRAM = 2_048;
/** By number; the last is `paused` (BEP 21), of which nothing follows. */
const EVENTS = [undefined, 'completed', 'started', 'stopped', undefined] as const;
const [END_OF_OPTIONS, NO_OPERATION, URL_DATA] = [0, 1, 2];
const MAX_PEERS = 82;
const MOST_LEFT = BigInt(Number.MAX_SAFE_INTEGER);

export async function listenUdp(
  listen: HostPort,
  options: {
    readonly announcing: Announcing;
    /** A scrape carries no passkey: only announces have options. */
    readonly mayAnnounce: MayAnnounce;
    readonly now: () => number;
    readonly log: Logger;
  },
): Promise<UdpListener> {
  const { announcing, mayAnnounce, log } = options;
  const ids = createConnectionIds(options.now);
  const socket = createSocket({ type: isIPv6(listen.host) ? 'udp6' : 'udp4' });
  let closed = false;
  const send = (message: Uint8Array, port: number, address: string): void => {
    // An origin may be asked longer than this listener lives.
    if (port === 0 || closed) return;
    socket.send(message, port, address, (error) => {
      if (error) log.debug({ err: error }, 'datagram not sent');
    });
  };
  const answerAnnounce = async (
    { transaction, request, passkey }: Extract<Datagram, { kind: 'announce' }>,
    from: RemoteInfo,
  ): Promise<void> => {
    const answer = async (): Promise<Buffer> => {
      if (!(await mayAnnounce(request.infoHash, passkey))) {
        announcing.invalid('udp');
        return failure(transaction, NO_PASSKEY);
      }
      const given = await announcing.announce('udp', request);
      if (typeof given === 'string') return failure(transaction, given);
      const { v4, v6 } = packPeers(given.peers);
      const head = words(ANNOUNCE, transaction, given.interval, given.incomplete, given.complete);
      // Over IPv6 each entry of the only list is an IPv6 address.
      return Buffer.concat([head, request.ip.includes(':') ? v6 : v4]);
    };
    const message = await answer().catch((error: unknown) => {
      if (!(error instanceof AdmissionError)) throw error;
      return failure(transaction, announcing.failed('udp', error));
    });
    send(message, from.port, from.address);
  };

  const answerScrape = async (
    { transaction, infoHashes }: Extract<Datagram, { kind: 'scrape' }>,
    from: RemoteInfo,
  ): Promise<void> => {
    const scrape = async (): Promise<string | Awaited<ReturnType<Announcing['scrape']>>> => {
      const may = await Promise.all(infoHashes.map((infoHash) => mayAnnounce(infoHash, undefined)));
      return may.every(Boolean) ? announcing.scrape(infoHashes) : NO_PASSKEY;
    };
    const found = await scrape().catch((error: unknown) => {
      if (error instanceof AdmissionError) return error.message;
      throw error;
    });
    const reason = typeof found === 'string' ? found : UNKNOWN_BLOB;
    if (typeof found === 'string' || found.size === 0) {
      return send(failure(transaction, reason), from.port, from.address);
    }
    const body = infoHashes.flatMap((infoHash) => {
      const { complete, incomplete } = found.get(infoHash) ?? { complete: 0, incomplete: 0 };
      return [complete, complete, incomplete];
    });
    send(words(SCRAPE, transaction, ...body), from.port, from.address);
  };

  socket.on('message', (message, from) => {
    const ip = plainIp(from.address);
    const datagram = readDatagram(message, ip, ids);
    if (datagram.kind === 'connect') {
      const answer = Buffer.concat([words(CONNECT, datagram.transaction), ids.issue(ip)]);
      return send(answer, from.port, from.address);
    }
    if (datagram.kind === 'expired') {
      return send(failure(datagram.transaction, 'connection id expired'), from.port, from.address);
    }
    if (datagram.kind === 'invalid') {
      announcing.invalid('udp');
      return send(failure(datagram.transaction, datagram.reason), from.port, from.address);
    }
    if (datagram.kind === 'drop') return;
    const answered =
      datagram.kind === 'announce' ? answerAnnounce(datagram, from) : answerScrape(datagram, from);
    answered.catch((error: unknown) => log.error({ err: error }, `${datagram.kind} failed`));
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ port: listen.port, address: listen.host }, () => {
      socket.off('error', reject);
      resolve();
    });
  }).catch(async (error: unknown) => {
    await closeSocket(socket);
    throw error;
  });
  socket.on('error', (error) => log.warn({ err: error }, 'UDP listener'));
  return {
    address: { host: listen.host, port: socket.address().port },
    close: () => {
      closed = true;
      return closeSocket(socket);
    },
  };
}

function closeSocket(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.close(() => resolve());
  });
}

/** Reads a datagram of this sender. What an announce says of its own address is not read. */
export function readDatagram(message: Buffer, ip: string, ids: ConnectionIds): Datagram {
  if (message.length < 16 || message.length > MAX_DATAGRAM) return { kind: 'drop' };
  const action = message.readUInt32BE(8);
  const transaction = message.readUInt32BE(12);
  const id = message.subarray(0, 8);
  if (action === CONNECT) return id.equals(PROTOCOL_ID) ? { kind: 'connect', transaction } : { kind: 'drop' };
  // Both lengths leave room for the answer that the id is not good, see the top.
  if (action === ANNOUNCE ? message.length < ANNOUNCE_BYTES : action !== SCRAPE || message.length < 36) {
    return { kind: 'drop' };
  }
  if (!ids.accepts(id, ip)) return { kind: 'expired', transaction };
  if (action === SCRAPE) return readScrape(message, transaction);

  const event = message.readUInt32BE(80);
  if (event >= EVENTS.length) return { kind: 'invalid', transaction, reason: 'unknown event' };
  const port = message.readUInt16BE(96);
  if (port === 0) return { kind: 'invalid', transaction, reason: 'port must be 1 to 65535' };
  const infoHash = parseInfoHash(message.toString('hex', 16, 36));
  if (infoHash === undefined) return { kind: 'drop' };
  const left = message.readBigUInt64BE(64);
  const request: AnnounceRequest = {
    ...{ infoHash, ip, port },
    peerId: message.toString('hex', 36, 56),
    left: Number(left > MOST_LEFT ? MOST_LEFT : left),
    event: EVENTS[event],
    // BEP 15: -1, by default.
    numwant: Math.min(message.readUInt32BE(92), MAX_PEERS),
  };
  return { kind: 'announce', transaction, request, passkey: passkeyOf(message.subarray(ANNOUNCE_BYTES)) };
}

/**
 * The passkey in the path and query of the tracker's URL, as clients repeat them behind an announce
 * (BEP 41). What is cut or malformed there is no passkey.
 */
function passkeyOf(options: Buffer): string | undefined {
  let url = '';
  let at = 0;
  while (at < options.length && options[at] !== END_OF_OPTIONS) {
    if (options[at] === NO_OPERATION) {
      at += 1;
      continue;
    }
    // Every other option has a length, also one that is not known here.
    const end = at + 2 + (options[at + 1] ?? 0);
    if (end > options.length) break;
    // A URL that is longer than 255 bytes comes in several of them.
    if (options[at] === URL_DATA) url += options.toString('latin1', at + 2, end);
    at = end;
  }
  try {
    return passkeyIn(url);
  } catch {
    return undefined;
  }
}

function readScrape(message: Buffer, transaction: number): Datagram {
  const count = (message.length - 16) / 20;
  if (!Number.isInteger(count) || count > MAX_SCRAPE) {
    return { kind: 'invalid', transaction, reason: `a scrape names 1 to ${MAX_SCRAPE} blobs of 20 bytes` };
  }
  const infoHashes: InfoHash[] = [];
  for (let at = 16; at < message.length; at += 20) {
    const infoHash = parseInfoHash(message.toString('hex', at, at + 20));
    if (infoHash !== undefined) infoHashes.push(infoHash);
  }
  return { kind: 'scrape', transaction, infoHashes };
}

function words(...values: readonly (number | undefined)[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeUInt32BE(value ?? 0, index * 4);
  });
  return bytes;
}

function failure(transaction: number, reason: string): Buffer {
  return Buffer.concat([words(FAILURE, transaction), Buffer.from(reason)]);
}
