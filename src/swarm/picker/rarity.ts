/**
 * Candidates (missing pieces that are not begun) in order of how many peers have them. The order is
 * an array with a boundary per count: a HAVE swaps a piece over one boundary. Peers that have
 * everything are not counted here: they raise all alike.
 */

export interface Rarity {
  /** Candidates. */
  readonly size: number;
  /** How many counted peers have the piece. */
  count(piece: number): number;
  raise(piece: number): void;
  lower(piece: number): void;
  /** The piece is a candidate from now on. */
  add(piece: number): void;
  remove(piece: number): void;
  /**
   * The first accepted candidate, fewest peers first (from `least` peers on), random among equals.
   * At most `probes` candidates of each count are looked at, so a hit may be missed in a crowd.
   */
  find(least: number, probes: number, accept: (piece: number) => boolean): number | undefined;
}

export function createRarity(pieceCount: number, random: () => number): Rarity {
  const counts = new Uint32Array(pieceCount);
  /** The first `size` places are candidates by count; the others follow in any order. */
  const order = Uint32Array.from({ length: pieceCount }, (_, piece) => piece);
  for (let last = pieceCount - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const piece = order[last] ?? 0;
    order[last] = order[other] ?? 0;
    order[other] = piece;
  }
  const place = new Uint32Array(pieceCount);
  order.forEach((piece, at) => {
    place[piece] = at;
  });
  /** Candidates with count c stand in [starts[c], starts[c + 1]); the last entry is the size. */
  const starts = [0, 0];
  let size = 0;

  function swap(a: number, b: number): void {
    if (a === b) return;
    const left = order[a] ?? 0;
    const right = order[b] ?? 0;
    order[a] = right;
    order[b] = left;
    place[right] = a;
    place[left] = b;
  }

  const start = (count: number): number => starts[count] ?? size;
  const isCandidate = (piece: number): boolean => (place[piece] ?? 0) < size;

  /** From bucket `count` to the next one. */
  function up(piece: number, count: number): void {
    while (starts.length < count + 3) starts.push(size);
    const edge = start(count + 1) - 1;
    swap(place[piece] ?? 0, edge);
    starts[count + 1] = edge;
  }

  /** From bucket `count` to the one before. */
  function down(piece: number, count: number): void {
    const edge = start(count);
    swap(place[piece] ?? 0, edge);
    starts[count] = edge + 1;
  }

  return {
    get size() {
      return size;
    },
    count: (piece) => counts[piece] ?? 0,
    raise(piece) {
      const count = counts[piece] ?? 0;
      if (isCandidate(piece)) up(piece, count);
      counts[piece] = count + 1;
    },
    lower(piece) {
      const count = counts[piece] ?? 0;
      if (count === 0) return;
      if (isCandidate(piece)) down(piece, count);
      counts[piece] = count - 1;
    },
    add(piece) {
      if (isCandidate(piece)) return;
      // It enters behind all, as the highest count that exists, and goes down from there.
      swap(place[piece] ?? 0, size);
      size++;
      const count = counts[piece] ?? 0;
      while (starts.length < count + 2) starts.push(size - 1);
      starts[starts.length - 1] = size;
      for (let at = starts.length - 2; at > count; at--) down(piece, at);
    },
    remove(piece) {
      if (!isCandidate(piece)) return;
      for (let at = counts[piece] ?? 0; at < starts.length - 2; at++) up(piece, at);
      swap(place[piece] ?? 0, size - 1);
      size--;
      starts[starts.length - 1] = size;
    },
    find(least, probes, accept) {
      for (let count = least; count < starts.length - 1; count++) {
        const from = start(count);
        const length = start(count + 1) - from;
        if (length === 0) continue;
        let at = Math.floor(random() * length);
        for (let probe = Math.min(probes, length); probe > 0; probe--) {
          const piece = order[from + at] ?? 0;
          if (accept(piece)) return piece;
          at = at + 1 === length ? 0 : at + 1;
        }
      }
      return undefined;
    },
  };
}
