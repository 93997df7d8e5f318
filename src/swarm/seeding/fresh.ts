/** The pieces of a blob that nobody was shown and nobody has: a set that changes in O(1), shown from its beginning. */

/** The next piece to show is one of so many. */
const SPREAD = 8;

export interface Fresh {
  readonly size: number;
  /** Puts the piece in or takes it out. */
  set(piece: number, isFresh: boolean): void;
  /**
   * A piece from the beginning of the blob: clients read in order, so the swarm fills in order, and
   * nobody has half of the blob left to read when the last piece comes. Out of a few, so that seeds
   * that do not know of each other show different ones.
   */
  next(): number | undefined;
}

/** All pieces are fresh at first. `random` is in [0, 1). */
export function createFresh(pieceCount: number, random: () => number): Fresh {
  /** The fresh pieces are in the first `size` places, in no order. */
  const pool = Uint32Array.from({ length: pieceCount }, (_, piece) => piece);
  const place = Uint32Array.from(pool);
  let size = pieceCount;
  /** No piece before this one is fresh. */
  let front = 0;
  const has = (piece: number): boolean => (place[piece] ?? pieceCount) < size;

  function swap(a: number, b: number): void {
    const left = pool[a] ?? 0;
    const right = pool[b] ?? 0;
    pool[a] = right;
    pool[b] = left;
    place[right] = a;
    place[left] = b;
  }

  return {
    get size() {
      return size;
    },
    set(piece, isFresh) {
      if (isFresh) front = Math.min(front, piece);
      const at = place[piece] ?? 0;
      if (isFresh && at >= size) swap(at, size++);
      else if (!isFresh && at < size) swap(at, --size);
    },
    next() {
      if (size === 0) return undefined;
      while (!has(front)) front++;
      let choice = Math.floor(random() * Math.min(size, SPREAD));
      for (let piece = front; ; piece++) if (has(piece) && choice-- === 0) return piece;
    },
  };
}
