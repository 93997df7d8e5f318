/**
 * Infohashes as small whole numbers, so that "ten thousand agents hold a thousand blobs each" is ten
 * million numbers of four bytes and not as many entries of sets of strings. A table with open
 * addressing over two typed arrays: some 36 bytes a blob, and nothing that a garbage collection visits.
 *
 * Whoever sends an inventory chooses the infohashes in it; the hash is keyed, so that nobody can
 * choose them to fall into one place.
 */
import type { InfoHash } from '#torrent';

export interface BlobIds {
  /** Undefined when this infohash has no number. */
  find(infoHash: InfoHash): number | undefined;
  /** Its number, a new one when it has none; numbers that were given back are used again. */
  intern(infoHash: InfoHash): number;
  /** Gives the number of `intern` back. */
  release(id: number): void;
  infoHashOf(id: number): InfoHash;
  readonly size: number;
}

const WORDS = 5;
const FIRST_SLOTS = 1_024;

export function createBlobIds(): BlobIds {
  const key = crypto.getRandomValues(new Uint32Array(WORDS + 1));
  /** Five words an id. */
  let words = new Uint32Array((FIRST_SLOTS / 2) * WORDS);
  /** Id + 1 by place; 0 is empty. Always a power of two, at most two thirds full. */
  let slots = new Uint32Array(FIRST_SLOTS);
  const free: number[] = [];
  /** Ids below this were given out. */
  let next = 0;
  let size = 0;
  const asked = new Uint32Array(WORDS);

  const hash = (source: Uint32Array, from: number): number => {
    let mixed = key[WORDS] ?? 0;
    for (let index = 0; index < WORDS; index += 1) {
      mixed = Math.imul(mixed ^ (source[from + index] ?? 0), (key[index] ?? 0) | 1);
      mixed ^= mixed >>> 15;
    }
    return mixed >>> 0;
  };
  const homeOf = (id: number): number => hash(words, id * WORDS) & (slots.length - 1);

  const isAsked = (id: number): boolean => {
    for (let index = 0; index < WORDS; index += 1) {
      if (words[id * WORDS + index] !== asked[index]) return false;
    }
    return true;
  };

  /** The place of the infohash in `asked`, or the empty one where it belongs. */
  const placeOfAsked = (): number => {
    let place = hash(asked, 0) & (slots.length - 1);
    for (;;) {
      const entry = slots[place] ?? 0;
      if (entry === 0 || isAsked(entry - 1)) return place;
      place = (place + 1) & (slots.length - 1);
    }
  };

  const grow = (): void => {
    const before = slots;
    slots = new Uint32Array(before.length * 2);
    for (const entry of before) {
      if (entry === 0) continue;
      let place = homeOf(entry - 1);
      while (slots[place] !== 0) place = (place + 1) & (slots.length - 1);
      slots[place] = entry;
    }
  };

  const freshId = (): number => {
    const id = free.pop() ?? next++;
    if ((id + 1) * WORDS > words.length) {
      const more = new Uint32Array(words.length * 2);
      more.set(words);
      words = more;
    }
    return id;
  };

  return {
    find(infoHash) {
      readWords(infoHash, asked);
      const entry = slots[placeOfAsked()] ?? 0;
      return entry === 0 ? undefined : entry - 1;
    },
    intern(infoHash) {
      readWords(infoHash, asked);
      let place = placeOfAsked();
      const entry = slots[place] ?? 0;
      if (entry !== 0) return entry - 1;
      if ((size + 1) * 3 > slots.length * 2) {
        grow();
        place = placeOfAsked();
      }
      const id = freshId();
      words.set(asked, id * WORDS);
      slots[place] = id + 1;
      size += 1;
      return id;
    },
    release(id) {
      let place = homeOf(id);
      while (slots[place] !== id + 1) place = (place + 1) & (slots.length - 1);
      // What follows moves up, so that no search ends too early at the gap.
      let gap = place;
      for (;;) {
        place = (place + 1) & (slots.length - 1);
        const entry = slots[place] ?? 0;
        if (entry === 0) break;
        const distance = (place - homeOf(entry - 1)) & (slots.length - 1);
        if (distance < ((place - gap) & (slots.length - 1))) continue;
        slots[gap] = entry;
        gap = place;
      }
      slots[gap] = 0;
      size -= 1;
      free.push(id);
    },
    infoHashOf(id) {
      let text = '';
      for (let index = 0; index < WORDS; index += 1) {
        text += (words[id * WORDS + index] ?? 0).toString(16).padStart(8, '0');
      }
      return text as InfoHash;
    },
    get size() {
      return size;
    },
  };
}

/** The 40 hex digits as five words. */
function readWords(infoHash: InfoHash, to: Uint32Array): void {
  for (let index = 0; index < WORDS; index += 1) {
    let word = 0;
    for (let at = index * 8; at < index * 8 + 8; at += 1) {
      const code = infoHash.charCodeAt(at);
      // '0' to '9' are 0x30 and on, 'a' to 'f' 0x61 and on.
      word = (word << 4) | (code > 0x39 ? code - 0x57 : code - 0x30);
    }
    to[index] = word >>> 0;
  }
}
