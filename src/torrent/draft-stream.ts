/**
 * How an origin tells a draft: a stream of frames, each a letter, the payload's length (2 bytes, big
 * endian) and the payload.
 *
 *     h  first and once: a bencoded dictionary of what the draft is of, and where its swarm is found
 *     p  the hashes of the next pieces, 20 bytes each
 *     w  nothing new, and the origin is still at it
 *     e  last: the blob is complete at the origin
 *     x  last: it will not be; the payload says why
 *
 * A stream that ends without `e` or `x` was cut, and can be taken up where it stopped.
 */

import { type Encodable, encodeBencode } from '#bencode';
import { formatMember } from '#multiaddr';
import { type Digest, digestHex, digestOfHex } from '#oci';
import { type Draft, isDraftable } from './draft.ts';
import {
  announceKeys,
  decode,
  MetainfoError,
  type MetainfoSources,
  pieceLengthFor,
  readSources,
} from './metainfo.ts';

/** A client that accepts it is told of drafts; every other gets metainfo. */
export const DRAFT_MEDIA_TYPE = 'application/vnd.shoal.draft';

const FRAME_HEAD = 3;
const HASHES_A_FRAME = 3_000;
/** Of a header, so that it fits its frame however long the addresses are. */
const MOST_SOURCES = 8;
const MAX_REASON_BYTES = 1_000;
const MAX_KEY_BYTES = 64;

export interface DraftHeader {
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly length: number;
  /** Of the draft's infohash. */
  readonly key: Uint8Array | undefined;
  /** The piece whose hash comes first. */
  readonly from: number;
  /** Without web seeds: no other client knows drafts. */
  readonly sources: MetainfoSources;
}

export interface DraftEvents {
  header(header: DraftHeader): void;
  /** Valid during the call. */
  hashes(hashes: Uint8Array): void;
  /** The blob is complete at the origin, and every hash was told. */
  end(): void;
  /** The origin gave up. */
  failed(reason: string): void;
}

export interface DraftParser {
  /** @throws MetainfoError for anything but the frames above, in their order and within their bounds */
  push(chunk: Uint8Array): void;
  /** `e` or `x` has come. */
  readonly ended: boolean;
}

function frame(letter: string, payload: Uint8Array = new Uint8Array()): Buffer {
  const bytes = Buffer.alloc(FRAME_HEAD + payload.length);
  bytes.write(letter, 'latin1');
  bytes.writeUInt16BE(payload.length, 1);
  bytes.set(payload, FRAME_HEAD);
  return bytes;
}

/** Nothing new. */
export const DRAFT_WAITING: Uint8Array = frame('w');
export const DRAFT_END: Uint8Array = frame('e');

export function encodeDraftHeader(draft: Draft, from: number, sources: MetainfoSources): Buffer {
  const peers: Encodable = sources.peers.slice(0, MOST_SOURCES).flatMap(formatMember);
  return frame(
    'h',
    encodeBencode({
      ...announceKeys(sources.announce.slice(0, MOST_SOURCES)),
      from,
      ...(draft.key !== undefined && { key: draft.key }),
      length: draft.length,
      name: digestHex(draft.digest),
      peers,
      'piece length': draft.pieceLength,
    }),
  );
}

/** The hashes of the pieces from `from` up to `to`, without it. */
export function encodeDraftHashes(draft: Draft, from: number, to: number): Buffer {
  const frames: Buffer[] = [];
  for (let at = from; at < to; at += HASHES_A_FRAME) {
    frames.push(frame('p', draft.pieces.subarray(20 * at, 20 * Math.min(to, at + HASHES_A_FRAME))));
  }
  return Buffer.concat(frames);
}

export function encodeDraftFailure(reason: string): Buffer {
  return frame('x', Buffer.from(reason).subarray(0, MAX_REASON_BYTES));
}

/** Reads a draft stream, in whatever chunks it comes. Memory is bounded by one frame. */
export function createDraftParser(events: DraftEvents): DraftParser {
  let rest: Buffer = Buffer.alloc(0);
  /** Hashes that are still to come; undefined before the header. */
  let missing: number | undefined;
  let ended = false;

  function handle(letter: string, payload: Buffer): void {
    if (missing === undefined) {
      const header = readHeader(payload);
      missing = Math.ceil(header.length / pieceLengthFor(header.length)) - header.from;
      events.header(header);
      return;
    }
    if (letter === 'p') {
      const count = payload.length / 20;
      if (!Number.isInteger(count) || count === 0 || count > missing) {
        throw new MetainfoError('a draft has other than its number of piece hashes');
      }
      missing -= count;
      events.hashes(payload);
    } else if (letter === 'e' && payload.length === 0 && missing === 0) {
      ended = true;
      events.end();
    } else if (letter === 'x') {
      ended = true;
      events.failed(payload.subarray(0, MAX_REASON_BYTES).toString('utf8'));
    } else if (letter !== 'w' || payload.length > 0) {
      throw new MetainfoError('a frame of a draft is out of place');
    }
  }

  return {
    get ended() {
      return ended;
    },
    push(chunk) {
      rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
      while (rest.length >= FRAME_HEAD) {
        if (ended) throw new MetainfoError('bytes after the end of a draft');
        const letter = rest.toString('latin1', 0, 1);
        // Looked at before its payload is waited for: it may be something else altogether.
        if (!(missing === undefined ? 'h' : 'pwex').includes(letter)) {
          throw new MetainfoError(`no frame of a draft begins so here: ${JSON.stringify(letter)}`);
        }
        const end = FRAME_HEAD + rest.readUInt16BE(1);
        if (rest.length < end) return;
        handle(letter, rest.subarray(FRAME_HEAD, end));
        rest = rest.subarray(end);
      }
      if (ended && rest.length > 0) throw new MetainfoError('bytes after the end of a draft');
    },
  };
}

function readHeader(payload: Uint8Array): DraftHeader {
  const header = decode(payload);
  if (!(header instanceof Map)) throw new MetainfoError('the header of a draft is no dictionary');
  const length = header.get('length');
  const from = header.get('from');
  const name = header.get('name');
  const key = header.get('key');
  if (typeof length !== 'number' || !isDraftable(length)) {
    throw new MetainfoError('a blob of this size has no draft');
  }
  const pieceLength = pieceLengthFor(length);
  if (header.get('piece length') !== pieceLength) {
    throw new MetainfoError('piece length does not follow from the length');
  }
  if (typeof from !== 'number' || from < 0 || from > Math.ceil(length / pieceLength)) {
    throw new MetainfoError('a draft begins behind its last piece');
  }
  if (key !== undefined && !(key instanceof Uint8Array && key.length <= MAX_KEY_BYTES)) {
    throw new MetainfoError('the key of a draft is no short string');
  }
  const hex = name instanceof Uint8Array ? Buffer.from(name).toString('latin1') : '';
  if (!/^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(hex)) {
    throw new MetainfoError('name is not a hex sha256 or sha512');
  }
  const sources = { ...readSources(header), webSeeds: [] };
  // The payload is a view that does not last.
  return { digest: digestOfHex(hex), length, key: key && Uint8Array.from(key), from, sources };
}
