/**
 * The blocks that we asked one peer for. A block that was given up (cancelled, or asked of
 * somebody else because this peer stalled) may still come: it is remembered, so that it is neither
 * wasted nor held against the peer.
 */
import { BLOCK_BYTES } from '../wire/index.ts';

/** Given-up blocks that are remembered; older ones are forgotten. */
const MAX_LATE = 4_096;

/** Requests that are out at several peers together. */
export interface AskedTally {
  blocks: number;
}

export interface Asked {
  /** Requests that are out. */
  readonly size: number;
  add(piece: number, offset: number): void;
  /** Takes a request out because its block or its refusal came; false when it was not out. */
  settle(piece: number, offset: number): boolean;
  /** Whether this block was asked for and may still come. */
  expects(piece: number, offset: number): boolean;
  has(piece: number, offset: number): boolean;
  /** Moves a request to those that may still come late; false when it was not out. */
  giveUp(piece: number, offset: number): boolean;
  /** Takes all requests out, oldest first. */
  clear(): BlockPlace[];
  /** All requests that are out, oldest first. */
  list(): BlockPlace[];
}

export interface BlockPlace {
  readonly piece: number;
  readonly offset: number;
}

export function createAsked(pieceLength: number, tally: AskedTally): Asked {
  const blocksPerPiece = pieceLength / BLOCK_BYTES;
  const out = new Set<number>();
  const late = new Set<number>();
  const key = (piece: number, offset: number): number => piece * blocksPerPiece + offset / BLOCK_BYTES;
  const place = (block: number): BlockPlace => {
    const piece = Math.floor(block / blocksPerPiece);
    return { piece, offset: (block - piece * blocksPerPiece) * BLOCK_BYTES };
  };
  function takeOut(block: number): boolean {
    if (!out.delete(block)) return false;
    tally.blocks--;
    return true;
  }

  return {
    get size() {
      return out.size;
    },
    add(piece, offset) {
      const block = key(piece, offset);
      if (out.has(block)) return;
      out.add(block);
      tally.blocks++;
    },
    settle(piece, offset) {
      const block = key(piece, offset);
      return takeOut(block) || late.delete(block);
    },
    expects(piece, offset) {
      const block = key(piece, offset);
      return out.has(block) || late.has(block);
    },
    has: (piece, offset) => out.has(key(piece, offset)),
    giveUp(piece, offset) {
      const block = key(piece, offset);
      if (!takeOut(block)) return false;
      late.add(block);
      if (late.size > MAX_LATE) {
        for (const oldest of late) {
          late.delete(oldest);
          break;
        }
      }
      return true;
    },
    clear() {
      const places = [...out].map(place);
      tally.blocks -= out.size;
      out.clear();
      return places;
    },
    list: () => [...out].map(place),
  };
}
