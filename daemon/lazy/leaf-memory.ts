/**
 * Verified leaves of all blobs, in memory; what was used longest ago goes first. The memory is made once, in slabs, and used
 * again: as buffers of their own, leaves that come and go would keep the collector at work, for which clients then wait.
 */

/** The leaves of one blob. */
export interface LeafShelf {
  has(index: number): boolean;
  /** Copies bytes of a leaf, from `offset` of it, into all of `into`; false when it is not here. */
  read(index: number, offset: number, into: Uint8Array): boolean;
  /** Keeps a copy. */
  put(index: number, leaf: Uint8Array): void;
}

export interface LeafMemory {
  /** For a blob that is opened. What another shelf holds of the same blob is not seen, and grows old there. */
  shelf(): LeafShelf;
  /** Bytes of what is held, in whole pages. */
  readonly bytes: number;
}

const PAGE_BYTES = 16 * 1024;
const SLAB_PAGES = 64;
/** More than the leaves of any blob. */
const SHELF_NAMES = 2 ** 20;

/** @param maxBytes less than one leaf: nothing is kept */
export function createLeafMemory(maxBytes: number): LeafMemory {
  const mostPages = Math.floor(maxBytes / PAGE_BYTES);
  const free: Uint8Array[] = [];
  let made = 0;
  let shelves = 0;
  /** By shelf and index; least recently used first. A leaf fills its pages one after another. */
  const leaves = new Map<number, readonly Uint8Array[]>();

  function grow(): void {
    const pages = Math.min(SLAB_PAGES, mostPages - made);
    const slab = Buffer.allocUnsafeSlow(pages * PAGE_BYTES);
    for (let page = pages - 1; page >= 0; page -= 1) {
      free.push(slab.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES));
    }
    made += pages;
  }

  function drop(name: number): void {
    const pages = leaves.get(name);
    if (pages === undefined) return;
    leaves.delete(name);
    free.push(...pages);
  }

  function makeRoom(pages: number): void {
    while (free.length < pages && made < mostPages) grow();
    for (const oldest of leaves.keys()) {
      if (free.length >= pages) return;
      drop(oldest);
    }
  }

  return {
    shelf() {
      const base = shelves * SHELF_NAMES;
      shelves += 1;
      return {
        has: (index) => leaves.has(base + index),
        read(index, offset, into) {
          const name = base + index;
          const pages = leaves.get(name);
          if (pages === undefined) return false;
          leaves.delete(name);
          leaves.set(name, pages);
          copyOut(pages, offset, into);
          return true;
        },
        put(index, leaf) {
          const name = base + index;
          const count = Math.ceil(leaf.length / PAGE_BYTES);
          drop(name);
          if (count > mostPages) return;
          makeRoom(count);
          const pages = free.splice(free.length - count, count);
          for (const [at, page] of pages.entries()) {
            page.set(leaf.subarray(at * PAGE_BYTES, (at + 1) * PAGE_BYTES));
          }
          leaves.set(name, pages);
        },
      };
    },
    get bytes() {
      return (made - free.length) * PAGE_BYTES;
    },
  };
}

function copyOut(pages: readonly Uint8Array[], offset: number, into: Uint8Array): void {
  for (let at = 0; at < into.length; ) {
    const start = (offset + at) % PAGE_BYTES;
    const length = Math.min(into.length - at, PAGE_BYTES - start);
    const page = pages[Math.floor((offset + at) / PAGE_BYTES)];
    if (page === undefined) throw new RangeError('the leaf is shorter');
    into.set(page.subarray(start, start + length), at);
    at += length;
  }
}
