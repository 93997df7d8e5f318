/**
 * Announce and scrape over HTTP (BEP 3, 7, 23, 48). A client may only name itself and a blob: its
 * address is the one that it connects from, and `ip` and X-Forwarded-For are ignored, so that nobody
 * can point a swarm at a victim. An agent that is reached elsewhere says so in its inventory.
 *
 * Refusals are bencoded with status 200, as clients expect them.
 */
import type { FastifyInstance, FastifyReply } from 'fastify';
import { parseMultiaddr } from '#multiaddr';
import { type InfoHash, parseInfoHash } from '#torrent';
import {
  type AnnounceAnswer,
  type AnnounceRequest,
  type Announcing,
  type Counts,
  UNKNOWN_BLOB,
} from './announce.ts';
import { plainIp } from './ip.ts';
import { describePeers, packPeers } from './peer-list.ts';
import { AdmissionError } from './questions.ts';

/** A scrape names at most as many blobs as fit a datagram of BEP 15. */
export const MAX_SCRAPE = 74;
const MAX_ANNOUNCE_URL = 4_096;
const MAX_SCRAPE_URL = 8_192;
const MAX_PARAMETERS = 128;
const MAX_PEERS = 82;
const DEFAULT_PEERS = 50;
const [PERCENT, PLUS, SPACE] = [0x25, 0x2b, 0x20];

/** Whether this passkey, or none, opens the swarm of a blob. @throws AdmissionError when that cannot be said now */
export type MayAnnounce = (infoHash: InfoHash, passkey: string | undefined) => boolean | Promise<boolean>;

/** What a refusal says; the same for a blob that is not there, so that nothing is learnt of it. */
export const NO_PASSKEY = 'the passkey is missing, expired or not for this blob: fetch its .torrent again';

/** The client sent something that is no announce or scrape; the text says what. */
export class QueryError extends Error {}

export function registerAnnounce(
  app: FastifyInstance,
  announcing: Announcing,
  mayAnnounce: MayAnnounce,
): void {
  const mine = async (url: string): Promise<InfoHash[]> => {
    const passkey = passkeyIn(url);
    const asked = parseScrape(url);
    const may = await Promise.all(asked.map((infoHash) => mayAnnounce(infoHash, passkey)));
    return asked.filter((_, index) => may[index]);
  };

  app.get('/announce', async (request, reply) => {
    const url = request.raw.url ?? '';
    let given: HttpAnnounce;
    try {
      given = parseAnnounce(url);
      if (!(await mayAnnounce(given.infoHash, given.passkey))) throw new QueryError(NO_PASSKEY);
    } catch (error) {
      if (error instanceof AdmissionError)
        return sendBencoded(reply, failure(announcing.failed('http', error)));
      if (!(error instanceof QueryError)) throw error;
      announcing.invalid('http');
      return sendBencoded(reply, failure(error.message));
    }
    const ip = plainIp(request.raw.socket.remoteAddress ?? '');
    const answer = await announcing.announce('http', { ...given, ip });
    return sendBencoded(reply, typeof answer === 'string' ? failure(answer) : encodeAnswer(answer, given));
  });

  app.get('/scrape', async (request, reply) => {
    try {
      const infoHashes = await mine(request.raw.url ?? '');
      if (infoHashes.length === 0) throw new QueryError(NO_PASSKEY);
      const files = await announcing.scrape(infoHashes);
      return sendBencoded(reply, files.size === 0 ? failure(UNKNOWN_BLOB) : encodeScrape(files));
    } catch (error) {
      if (!(error instanceof QueryError || error instanceof AdmissionError)) throw error;
      return sendBencoded(reply, failure(error.message));
    }
  });
}

/** An announce but for the address of its sender. */
export interface HttpAnnounce extends Omit<AnnounceRequest, 'ip'> {
  readonly compact: boolean;
  /** The first, when there are several. */
  readonly passkey: string | undefined;
}

/**
 * What we understand of an announce, and nothing else of it.
 * @throws QueryError
 */
export function parseAnnounce(url: string): HttpAnnounce {
  if (url.length > MAX_ANNOUNCE_URL) throw new QueryError('the announce is too long');
  const query = parseQuery(url);
  const single = (name: string): string | undefined => {
    const values = query.get(name) ?? [];
    if (values.length > 1) throw new QueryError(`${name} is given more than once`);
    return values[0];
  };
  const bytes = (name: string): InfoHash => {
    const value = single(name) ?? '';
    const hex = value.length === 20 ? parseInfoHash(Buffer.from(value, 'latin1').toString('hex')) : undefined;
    if (hex === undefined) throw new QueryError(`${name} must be 20 bytes`);
    return hex;
  };
  const whole = (name: string, fallback: string, most: number): number => {
    const text = single(name) ?? fallback;
    if (!/^\d{1,16}$/.test(text) || Number(text) > most) {
      throw new QueryError(`${name} must be a whole number up to ${most}`);
    }
    return Number(text);
  };
  const port = whole('port', '0', 65_535);
  if (port === 0) throw new QueryError('port must be 1 to 65535');
  const event = single('event') ?? '';
  if (!/^(?:|started|completed|stopped|paused|empty)$/.test(event)) throw new QueryError('unknown event');
  // Clients that do not want to be told of anybody send 0 or, some, -1.
  const wanted = /^-\d{1,9}$/.test(single('numwant') ?? '')
    ? DEFAULT_PEERS
    : whole('numwant', String(DEFAULT_PEERS), Number.MAX_SAFE_INTEGER);
  // A parameter of ours: members of this name understand multiaddrs. The host is where it speaks from.
  const libp2p = parseMultiaddr(single('peer') ?? '');
  return {
    infoHash: bytes('info_hash'),
    peerId: bytes('peer_id'),
    port,
    left: whole('left', '1', Number.MAX_SAFE_INTEGER),
    event: event === 'started' || event === 'completed' || event === 'stopped' ? event : undefined,
    numwant: Math.min(wanted, MAX_PEERS),
    compact: single('compact') === '1',
    passkey: query.get('passkey')?.[0],
    libp2p: libp2p && { port: libp2p.port, peerId: libp2p.peerId },
  };
}

/**
 * The blobs that a scrape names; at least one, because the list of all is nobody's business.
 * @throws QueryError
 */
export function parseScrape(url: string): InfoHash[] {
  if (url.length > MAX_SCRAPE_URL) throw new QueryError('the scrape is too long');
  const given = parseQuery(url).get('info_hash') ?? [];
  if (given.length === 0)
    throw new QueryError('info_hash is missing; a scrape of everything is not answered');
  if (given.length > MAX_SCRAPE) throw new QueryError(`a scrape may name ${MAX_SCRAPE} blobs`);
  return given.map((value) => {
    const infoHash = value.length === 20 && parseInfoHash(Buffer.from(value, 'latin1').toString('hex'));
    if (!infoHash) throw new QueryError('info_hash must be 20 bytes');
    return infoHash;
  });
}

/** The first passkey of a URL, or of the part of one that BEP 41 carries. @throws QueryError */
export function passkeyIn(url: string): string | undefined {
  return parseQuery(url).get('passkey')?.[0];
}

/** Parameters by name, values as latin1 text of their bytes: a query of BitTorrent is not UTF-8. */
function parseQuery(url: string): Map<string, string[]> {
  const query = new Map<string, string[]>();
  const start = url.indexOf('?');
  if (start === -1) return query;
  const parameters = url.slice(start + 1).split('&', MAX_PARAMETERS + 1);
  if (parameters.length > MAX_PARAMETERS) throw new QueryError('too many parameters');
  for (const parameter of parameters) {
    const equals = parameter.indexOf('=');
    const name = equals === -1 ? parameter : parameter.slice(0, equals);
    const value = equals === -1 ? '' : unescapeBytes(parameter.slice(equals + 1));
    const before = query.get(name);
    if (before === undefined) query.set(name, [value]);
    else before.push(value);
  }
  return query;
}

function unescapeBytes(text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text;
  const bytes = Buffer.allocUnsafe(text.length);
  let length = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const high = code === PERCENT ? hexDigit(text.charCodeAt(at + 1)) : -1;
    const low = high === -1 ? -1 : hexDigit(text.charCodeAt(at + 2));
    // What is no escape stands for itself.
    if (low !== -1) at += 2;
    bytes[length++] = low === -1 ? (code === PLUS ? SPACE : code) : high * 16 + low;
  }
  return bytes.toString('latin1', 0, length);
}

/** -1 for what is none. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** BEP 3, 7 and 23; the keys in their order. */
function encodeAnswer(
  { complete, incomplete, interval, peers }: AnnounceAnswer,
  { compact, libp2p }: HttpAnnounce,
): Buffer {
  const head = `d8:completei${complete}e10:incompletei${incomplete}e8:intervali${interval}e5:peers`;
  if (!compact)
    return Buffer.concat([Buffer.from(head), describePeers(peers, libp2p !== undefined), Buffer.from('e')]);
  const { v4, v6 } = packPeers(peers);
  return Buffer.concat([
    Buffer.from(`${head}${v4.length}:`),
    v4,
    ...(v6.length > 0 ? [Buffer.from(`6:peers6${v6.length}:`), v6] : []),
    Buffer.from('e'),
  ]);
}

function failure(reason: string): Buffer {
  const text = Buffer.from(reason);
  return Buffer.concat([Buffer.from(`d14:failure reason${text.length}:`), text, Buffer.from('e')]);
}

/** BEP 48. Keys are bytes in their order, which the library's encoder cannot write. */
function encodeScrape(files: ReadonlyMap<InfoHash, Counts>): Buffer {
  const entries = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
  return Buffer.concat([
    Buffer.from('d5:filesd'),
    ...entries.flatMap(([infoHash, { complete, incomplete }]) => [
      Buffer.from('20:'),
      Buffer.from(infoHash, 'hex'),
      Buffer.from(`d8:completei${complete}e10:downloadedi${complete}e10:incompletei${incomplete}ee`),
    ]),
    Buffer.from('ee'),
  ]);
}

function sendBencoded(reply: FastifyReply, body: Buffer): FastifyReply {
  return reply.type('text/plain').header('cache-control', 'no-store').send(body);
}
