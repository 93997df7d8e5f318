/**
 * The draft of a blob: a torrent whose piece hashes become known from the first to the last, while
 * the origin still fetches the blob from an upstream. Nobody can know the infohash of the real
 * torrent before its last byte is there; a draft's follows from digest and size, so that all who
 * fetch the blob meanwhile meet in one swarm. Where not everybody may have every blob it follows from
 * a key, too, which the origin tells with the draft: a digest is no secret, an infohash must be. Its dictionary has no piece hashes and no name, so it
 * is no info dictionary (BEP 3), and no torrent has its infohash. The pieces are those of the real
 * torrent: what a draft brought is kept for it.
 */
import { createHash } from 'node:crypto';
import { encodeBencode } from '#bencode';
import type { Digest } from '#oci';
import type { InfoHash } from './info-hash.ts';
import {
  createMetainfo,
  type HashGrowth,
  MAX_METAINFO_BYTES,
  type Metainfo,
  MetainfoError,
  type MetainfoSources,
  NO_SOURCES,
  pieceCount,
  pieceLengthFor,
  type Torrent,
} from './metainfo.ts';

/** Of the draft's dictionary: another form of drafts would be other swarms. */
const VERSION = 1;

export interface Draft extends Torrent {
  readonly key: Uint8Array | undefined;
  readonly growth: HashGrowth;
}

/** A draft, and the one who makes its hashes known. */
export interface GrowingDraft {
  readonly draft: Draft;
  /** The next hashes, 20 bytes each. @throws MetainfoError when they are more than the pieces */
  add(hashes: Uint8Array): void;
  /** The real torrent, once every hash is known. */
  whole(): Metainfo | undefined;
}

/** Whether a blob of this size can have a draft: it has several pieces, and no more than metainfo may have. */
export function isDraftable(length: number): boolean {
  if (!Number.isSafeInteger(length) || length <= pieceLengthFor(length)) return false;
  return 20 * Math.ceil(length / pieceLengthFor(length)) < MAX_METAINFO_BYTES;
}

/** A draft of which no hash is known. `key` makes its infohash one that cannot be guessed. @throws MetainfoError when a blob of this size has none */
export function createDraft(blob: {
  readonly digest: Digest;
  readonly length: number;
  readonly key?: Uint8Array | undefined;
  readonly sources?: MetainfoSources;
}): GrowingDraft {
  const { digest, length, key, sources = NO_SOURCES } = blob;
  if (!isDraftable(length)) throw new MetainfoError('a blob of this size has no draft');
  const pieceLength = pieceLengthFor(length);
  const info = encodeBencode({
    digest,
    ...(key !== undefined && { key }),
    length,
    'piece length': pieceLength,
    'shoal draft': VERSION,
  });
  const infoHash = createHash('sha1').update(info).digest('hex') as InfoHash;
  const count = pieceCount({ length, pieceLength });
  const pieces = new Uint8Array(20 * count);
  const listeners = new Set<() => void>();
  let known = 0;
  let metainfo: Metainfo | undefined;

  const growth: HashGrowth = {
    get known() {
      return known;
    },
    onMore(listener) {
      // A function of its own: the same listener may be given twice.
      const own = (): void => listener();
      listeners.add(own);
      return () => void listeners.delete(own);
    },
  };
  const draft: Draft = { key, infoHash, digest, length, pieceLength, pieces, info, sources, growth };
  return {
    draft,
    add(hashes) {
      const more = hashes.length / 20;
      if (!Number.isInteger(more) || known + more > count) {
        throw new MetainfoError('the piece hashes do not fit the length');
      }
      pieces.set(hashes, 20 * known);
      known += more;
      for (const listener of [...listeners]) listener();
    },
    whole() {
      if (known === count) metainfo ??= createMetainfo({ digest, length, pieces, sources });
      return metainfo;
    },
  };
}
