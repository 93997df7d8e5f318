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

/** A member of both sets, searched from a random place on; undefined when there is none. */
export function commonBit(a: Bits, b: Bits, random: () => number): number | undefined {
  const words = a.length;
  const seed = random() * words;
  const start = Math.floor(seed);
  const turn = Math.floor((seed - start) * 31) + 1;
  for (let step = 0; step < words; step++) {
    const at = start + step < words ? start + step : start + step - words;
    const word = ((a[at] ?? 0) & (b[at] ?? 0)) >>> 0;
    if (word !== 0) return at * 32 + bitOf(word, turn & 31);
  }
  return undefined;
}

/** How many bits are set in both. */
export function countCommon(a: Bits, b: Bits): number {
  let count = 0;
  for (let at = 0; at < a.length; at++) {
    let word = (a[at] ?? 0) & (b[at] ?? 0);
    while (word !== 0) {
      word &= word - 1;
      count++;
    }
  }
  return count;
}

/** Calls back for each member of both sets. */
export function eachCommon(a: Bits, b: Bits, visit: (at: number) => void): void {
  for (let at = 0; at < a.length; at++) {
    let word = (a[at] ?? 0) & (b[at] ?? 0);
    while (word !== 0) {
      visit(at * 32 + 31 - Math.clz32(word & -word));
      word &= word - 1;
    }
  }
}
