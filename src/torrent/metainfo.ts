/**
 * The metainfo of one blob (BEP 3): a private single-file v1 torrent whose name is the hex digest.
 * Piece length follows from the size alone, so the info dictionary follows from the bytes alone.
 * A blob of no bytes has metainfo with no pieces; it never needs a swarm.
 */
import { createHash } from 'node:crypto';
import { type Bencoded, BencodeError, decodeBencode, type Encodable, encodeBencode } from '#bencode';
import { formatMember, type MemberAddress, parseMembers } from '#multiaddr';
import { type Digest, digestHex, digestOfHex } from '#oci';
import { firstLeavesBytes } from './first-leaves.ts';
import type { InfoHash } from './info-hash.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** The piece hashes of a 1.6 TiB blob; larger input is refused unread. */
export const MAX_METAINFO_BYTES = 8 * MIB;
/** A key of ours beside `info`: it sorts before it. */
const FIRST_LEAVES = 'first leaves';
const MAX_SOURCES = 64;
const MAX_URL_LENGTH = 2048;

/** Where a blob can be had; outside the info dictionary, so without influence on the infohash. */
export interface MetainfoSources {
  /** Tracker URLs, `http:`, `https:` or `udp:`. */
  readonly announce: readonly string[];
  /** BEP 19 web seeds: URLs of the blob itself. */
  readonly webSeeds: readonly string[];
  /** The origin as a member of the swarm (outer key `peers`, a list of host:port and of multiaddrs). */
  readonly peers: readonly MemberAddress[];
}

/** What a swarm exchanges: a blob in pieces, under the name of an infohash. */
export interface Torrent {
  readonly infoHash: InfoHash;
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly length: number;
  /** Bytes of each piece but the last. */
  readonly pieceLength: number;
  /** SHA-1 of each piece, 20 bytes each, one after another; only the first `growth.known` count while there is `growth`. */
  readonly pieces: Uint8Array;
  /** The bencoded dictionary whose SHA-1 is the infohash. */
  readonly info: Uint8Array;
  readonly sources: MetainfoSources;
  /** SHA-256 of each 16 KiB of the first piece (see first-leaves.ts), where the origin told them. */
  readonly firstLeaves?: Uint8Array | undefined;
  /** Undefined when every piece hash is known: then this is metainfo. Else it is a draft (see draft.ts). */
  readonly growth?: HashGrowth | undefined;
}

/** Piece hashes that become known from the first to the last. */
export interface HashGrowth {
  /** How many are known. */
  readonly known: number;
  /** Called each time that more are known. The answer ends that. */
  onMore(listener: () => void): () => void;
}

/** A torrent whose piece hashes are all known. */
export interface Metainfo extends Torrent {
  readonly growth?: undefined;
}

export class MetainfoError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'MetainfoError';
  }
}

export const NO_SOURCES: MetainfoSources = { announce: [], webSeeds: [], peers: [] };

/** Bytes of a piece, by the blob's size alone: at most some thousand pieces, at least one block. */
export function pieceLengthFor(length: number): number {
  if (length <= 16 * MIB) return 256 * KIB;
  if (length <= 256 * MIB) return 512 * KIB;
  if (length <= 2 * GIB) return MIB;
  if (length <= 8 * GIB) return 2 * MIB;
  return 4 * MIB;
}

export function pieceCount(metainfo: Pick<Torrent, 'length' | 'pieceLength'>): number {
  return Math.ceil(metainfo.length / metainfo.pieceLength);
}

/** Bytes of piece `index`: the last one may be short. */
export function pieceSize(metainfo: Pick<Torrent, 'length' | 'pieceLength'>, index: number): number {
  return Math.min(metainfo.pieceLength, metainfo.length - index * metainfo.pieceLength);
}

/** How many piece hashes are known, from the first piece. */
export function knownPieces(torrent: Pick<Torrent, 'length' | 'pieceLength' | 'growth'>): number {
  return torrent.growth?.known ?? pieceCount(torrent);
}

/** The SHA-1 of piece `index`, a view of 20 bytes. */
export function pieceHash(metainfo: Pick<Torrent, 'pieces'>, index: number): Uint8Array {
  return metainfo.pieces.subarray(index * 20, index * 20 + 20);
}

/** @throws MetainfoError when the number of piece hashes, or of the hashes of leaves, does not fit the length */
export function createMetainfo(blob: {
  readonly digest: Digest;
  readonly length: number;
  readonly pieces: Uint8Array;
  readonly firstLeaves?: Uint8Array | undefined;
  readonly sources?: MetainfoSources;
}): Metainfo {
  const { digest, length, pieces, firstLeaves, sources = NO_SOURCES } = blob;
  const pieceLength = pieceLengthFor(length);
  if (!Number.isSafeInteger(length) || length < 0) throw new MetainfoError('the length is not a size');
  if (pieces.length !== 20 * Math.ceil(length / pieceLength)) {
    throw new MetainfoError('the number of piece hashes does not fit the length');
  }
  if (firstLeaves !== undefined && firstLeaves.length !== firstLeavesBytes({ length, pieceLength })) {
    throw new MetainfoError('the number of leaf hashes does not fit the length');
  }
  const info = encodeBencode({
    length,
    name: digestHex(digest),
    'piece length': pieceLength,
    pieces,
    private: 1,
  });
  const infoHash = createHash('sha1').update(info).digest('hex') as InfoHash;
  const leaves = firstLeaves === undefined ? {} : { firstLeaves };
  return { infoHash, digest, length, pieceLength, pieces, info, sources, ...leaves };
}

/** The .torrent file, with these sources or the metainfo's own. */
export function encodeMetainfo(metainfo: Metainfo, sources: MetainfoSources = metainfo.sources): Buffer {
  const { announce, webSeeds, peers } = sources;
  const { firstLeaves } = metainfo;
  const before = encodeBencode({
    ...announceKeys(announce),
    'created by': 'shoal',
    ...(firstLeaves !== undefined && { [FIRST_LEAVES]: firstLeaves }),
  });
  const after = encodeBencode({
    ...(peers.length > 0 && { peers: peers.flatMap(formatMember) }),
    ...(webSeeds.length > 0 && { 'url-list': [...webSeeds] }),
  });
  // `info` sorts between the two halves; its own bytes are kept, so the infohash is too.
  return Buffer.concat([before.subarray(0, -1), Buffer.from('4:info'), metainfo.info, after.subarray(1)]);
}

/** Trackers, as the keys of a .torrent say them. */
export function announceKeys(announce: readonly string[]): Readonly<Record<string, Encodable>> {
  const first = announce[0];
  return {
    ...(first !== undefined && { announce: first }),
    ...(announce.length > 1 && { 'announce-list': [[...announce]] }),
  };
}

/**
 * Reads a .torrent of Shoal's form and refuses every other.
 * @throws MetainfoError with the reason
 */
export function parseMetainfo(bytes: Uint8Array): Metainfo {
  if (bytes.length > MAX_METAINFO_BYTES) throw new MetainfoError(`larger than ${MAX_METAINFO_BYTES} bytes`);
  const outer = decode(bytes);
  const info = outer instanceof Map ? outer.get('info') : undefined;
  if (!(outer instanceof Map) || !(info instanceof Map)) throw new MetainfoError('no info dictionary');
  const keys = [...info.keys()].join();
  if (keys !== 'length,name,piece length,pieces,private')
    throw new MetainfoError(`unexpected info keys: ${keys.slice(0, 200)}`);
  const [length, name, pieceLength, pieces, isPrivate] = [...info.values()];
  if (typeof length !== 'number' || length < 0) throw new MetainfoError('length is not a size');
  if (!(name instanceof Uint8Array) || !(pieces instanceof Uint8Array))
    throw new MetainfoError('name or pieces is not a string');
  const hex = Buffer.from(name).toString('latin1');
  if (!/^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(hex)) {
    throw new MetainfoError('name is not a hex sha256 or sha512');
  }
  if (pieceLength !== pieceLengthFor(length))
    throw new MetainfoError('piece length does not follow from the length');
  if (isPrivate !== 1) throw new MetainfoError('not private');
  const firstLeaves = outer.get(FIRST_LEAVES);
  if (firstLeaves !== undefined && !(firstLeaves instanceof Uint8Array))
    throw new MetainfoError(`${FIRST_LEAVES} is not a string`);
  const sources = readSources(outer);
  return createMetainfo({ digest: digestOfHex(hex), length, pieces, firstLeaves, sources });
}

/** @throws MetainfoError for what is not canonical, or nested deeper than a .torrent is */
export function decode(bytes: Uint8Array): Bencoded {
  try {
    return decodeBencode(bytes, 4);
  } catch (error) {
    if (error instanceof BencodeError) throw new MetainfoError(error.message);
    throw error;
  }
}

/** The sources that a dictionary names under the keys of a .torrent, bounded. */
export function readSources(outer: ReadonlyMap<string, Bencoded>): MetainfoSources {
  const announce = new Set<string>();
  for (const text of [...strings([outer.get('announce')]), ...strings(flat(outer.get('announce-list')))]) {
    if (/^(?:https?|udp):\/\//.test(text)) announce.add(text);
  }
  const webSeeds = strings(flat(outer.get('url-list'))).filter((text) => /^https?:\/\//.test(text));
  const peers = parseMembers(strings(flat(outer.get('peers'))));
  return { announce: [...announce].slice(0, MAX_SOURCES), webSeeds, peers };
}

/** A string, a list of strings, or a list of lists of them, as one list. */
function flat(value: Bencoded | undefined): readonly (Bencoded | undefined)[] {
  if (!Array.isArray(value)) return [value];
  return (value as readonly Bencoded[]).flatMap((entry) =>
    Array.isArray(entry) ? (entry as readonly Bencoded[]) : [entry],
  );
}

function strings(values: readonly (Bencoded | undefined)[]): string[] {
  return values
    .filter((value): value is Uint8Array => value instanceof Uint8Array && value.length <= MAX_URL_LENGTH)
    .slice(0, MAX_SOURCES)
    .map((value) => Buffer.from(value).toString('utf8'));
}
