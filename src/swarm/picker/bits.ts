/** Sets of pieces as 32-bit words, and the search for a member of several sets at once. */

export type Bits = Uint32Array;

export function createBits(size: number): Bits {
  return new Uint32Array((size + 31) >>> 5);
}

export function hasBit(bits: Bits, at: number): boolean {
  return (((bits[at >>> 5] ?? 0) >>> (at & 31)) & 1) !== 0;
}

export function setBit(bits: Bits, at: number): void {
  const word = at >>> 5;
  bits[word] = (bits[word] ?? 0) | (1 << (at & 31));
}

export function clearBit(bits: Bits, at: number): void {
  const word = at >>> 5;
  bits[word] = (bits[word] ?? 0) & ~(1 << (at & 31));
}

/** One set bit of a word that is not zero, rotated by `turn` so that low bits are not preferred. */
function bitOf(word: number, turn: number): number {
  const rotated = ((word >>> turn) | (word << (32 - turn))) >>> 0;
  return (31 - Math.clz32(rotated & -rotated) + turn) & 31;
}

/** The place of the lowest bit of a word that is not zero. */
const lowest = (word: number): number => 31 - Math.clz32(word & -word);

/** How many bits are set. */
export function countBits(bits: Bits): number {
  let count = 0;
  for (let word of bits) {
    for (; word !== 0; word &= word - 1) count++;
  }
  return count;
}

/**
 * A set for each of many peers, as rows of one table: a question about one piece goes through all
 * peers, and finds them side by side. Rows are numbered from 0; the caller knows which is whose.
 */
export interface BitRows {
  has(row: number, at: number): boolean;
  set(row: number, at: number): void;
  fill(row: number, size: number): void;
  clear(row: number): void;
  /** Row `from` replaces row `to`. */
  move(from: number, to: number): void;
  /** A member of the row and of the set, searched from a random place on; undefined when there is none. */
  common(row: number, others: Bits, random: () => number): number | undefined;
  /** Calls back for each member of the row and of the set, if one is given. */
  each(row: number, others: Bits | undefined, visit: (at: number) => void): void;
}

const ROWS_AT_FIRST = 4;

export function createBitRows(size: number): BitRows {
  const words = (size + 31) >>> 5;
  let table = new Uint32Array(words * ROWS_AT_FIRST);

  function reserve(row: number): void {
    if ((row + 1) * words <= table.length) return;
    const next = new Uint32Array(table.length * 2);
    next.set(table);
    table = next;
  }

  return {
    has: (row, at) => (((table[row * words + (at >>> 5)] ?? 0) >>> (at & 31)) & 1) !== 0,
    set(row, at) {
      const word = row * words + (at >>> 5);
      table[word] = (table[word] ?? 0) | (1 << (at & 31));
    },
    fill(row, count) {
      table.fill(0xffffffff, row * words, row * words + (count >>> 5));
      if ((count & 31) !== 0) table[row * words + (count >>> 5)] = 2 ** (count & 31) - 1;
    },
    clear(row) {
      reserve(row);
      table.fill(0, row * words, (row + 1) * words);
    },
    move(from, to) {
      table.copyWithin(to * words, from * words, (from + 1) * words);
    },
    common(row, others, random) {
      const seed = random() * words;
      const start = Math.floor(seed);
      const turn = Math.floor((seed - start) * 31) + 1;
      const from = row * words;
      for (let step = 0; step < words; step++) {
        const at = start + step < words ? start + step : start + step - words;
        const word = ((table[from + at] ?? 0) & (others[at] ?? 0)) >>> 0;
        if (word !== 0) return at * 32 + bitOf(word, turn & 31);
      }
      return undefined;
    },
    each(row, others, visit) {
      const from = row * words;
      for (let at = 0; at < words; at++) {
        let word = (table[from + at] ?? 0) & (others === undefined ? -1 : (others[at] ?? 0));
        for (; word !== 0; word &= word - 1) visit(at * 32 + lowest(word));
      }
    },
  };
}
