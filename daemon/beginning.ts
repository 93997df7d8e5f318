/**
 * The beginning of a blob, given out while its first piece still arrives: a client that waits for its first byte need
 * not wait for a whole piece of some hundred KiB. What the origin sends is checked leaf by leaf (see
 * #torrent), copied, and may then be read. Nothing is kept once the piece itself is here, or when no leaf hashes are known.
 */
import { FIRST_LEAF_BYTES, isFirstLeaf, pieceSize, type Torrent } from '#torrent';

export interface Beginning {
  /** Bytes from the start of the blob that may be read. Never less than before, until the piece is here. */
  readonly verified: number;
  /** `filled` bytes of the first piece have come into `bytes`, in order. True when more may be read than before. */
  grown(bytes: Uint8Array, filled: number): boolean;
  /** Fills `into` from `position`; false when not all of that may be read from here. */
  read(position: number, into: Uint8Array): boolean;
  /** The first piece is here: readers find it in the blob. */
  end(): void;
}

export function createBeginning(torrent: Torrent): Beginning {
  const { firstLeaves } = torrent;
  const size = pieceSize(torrent, 0);
  let kept: Buffer | undefined;
  let verified = 0;
  /** A leaf was wrong, or there is nothing more to do. */
  let over = firstLeaves === undefined;

  return {
    get verified() {
      return verified;
    },
    grown(bytes, filled) {
      const before = verified;
      while (!over && firstLeaves !== undefined && verified < size) {
        const end = Math.min(verified + FIRST_LEAF_BYTES, size);
        if (end > filled) break;
        const leaf = bytes.subarray(verified, end);
        // Which bytes were wrong is found out with the piece's own hash.
        over = !isFirstLeaf(firstLeaves, verified / FIRST_LEAF_BYTES, leaf);
        if (over) break;
        kept ??= Buffer.allocUnsafeSlow(size);
        kept.set(leaf, verified);
        verified = end;
      }
      return verified > before;
    },
    read(position, into) {
      if (kept === undefined || position + into.length > verified) return false;
      into.set(kept.subarray(position, position + into.length));
      return true;
    },
    end() {
      over = true;
      kept = undefined;
      verified = 0;
    },
  };
}
