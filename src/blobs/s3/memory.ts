/** What the store knows for a while, without asking S3 again. */
import { createBoundedMap } from '#bounded';
import type { Digest } from '#oci';

/** A HEAD a minute and blob is enough to notice what changed behind our back; reads check the etag each time. */
const CONFIRMED_MS = 60_000;
const MAX_CONFIRMED = 20_000;
/** Piece hashes of blobs that were just pushed: the metainfo is made right afterwards. */
const MAX_PIECE_BYTES = 4 * 1024 * 1024;

/** Blobs whose object was seen to be there and unchanged a moment ago. */
export interface Confirmed {
  has(digest: Digest): boolean;
  add(digest: Digest): void;
  delete(digest: Digest): void;
}

export function createConfirmed(): Confirmed {
  const until = createBoundedMap<Digest, number>(MAX_CONFIRMED);
  return {
    has: (digest) => (until.get(digest) ?? 0) > performance.now(),
    add: (digest) => until.set(digest, performance.now() + CONFIRMED_MS),
    delete: until.delete,
  };
}

export interface KnownPieces {
  set(digest: Digest, pieceLength: number, pieces: Uint8Array): void;
  /** Gives them out once. */
  take(digest: Digest, pieceLength: number): Uint8Array | undefined;
}

export function createKnownPieces(): KnownPieces {
  const known = new Map<Digest, { readonly pieceLength: number; readonly pieces: Uint8Array }>();
  let bytes = 0;
  const drop = (digest: Digest): void => {
    bytes -= known.get(digest)?.pieces.length ?? 0;
    known.delete(digest);
  };
  return {
    set(digest, pieceLength, pieces) {
      drop(digest);
      known.set(digest, { pieceLength, pieces });
      bytes += pieces.length;
      for (const oldest of known.keys()) {
        if (bytes <= MAX_PIECE_BYTES) break;
        drop(oldest);
      }
    },
    take(digest, pieceLength) {
      const found = known.get(digest);
      if (found?.pieceLength !== pieceLength) return undefined;
      drop(digest);
      return found.pieces;
    },
  };
}
