/** Verified leaves of all blobs, in memory; what was used longest ago goes first. */
import type { Digest } from '#oci';

export interface LeafMemory {
  get(digest: Digest, index: number): Buffer | undefined;
  has(digest: Digest, index: number): boolean;
  put(digest: Digest, index: number, leaf: Buffer): void;
  /** What is held, the rest of the allocations that leaves are parts of included. */
  readonly bytes: number;
}

export function createLeafMemory(maxBytes: number): LeafMemory {
  const leaves = new Map<string, Buffer>();
  /** How many leaves here share an allocation; it is counted whole as long as one does. */
  const sharers = new Map<ArrayBufferLike, number>();
  let bytes = 0;
  const nameOf = (digest: Digest, index: number): string => `${index} ${digest}`;

  function drop(name: string, leaf: Buffer): void {
    leaves.delete(name);
    const left = (sharers.get(leaf.buffer) ?? 1) - 1;
    if (left > 0) {
      sharers.set(leaf.buffer, left);
      return;
    }
    sharers.delete(leaf.buffer);
    bytes -= leaf.buffer.byteLength;
  }

  return {
    get(digest, index) {
      const name = nameOf(digest, index);
      const leaf = leaves.get(name);
      if (leaf) {
        leaves.delete(name);
        leaves.set(name, leaf);
      }
      return leaf;
    },
    has: (digest, index) => leaves.has(nameOf(digest, index)),
    put(digest, index, leaf) {
      const name = nameOf(digest, index);
      const before = leaves.get(name);
      if (before) drop(name, before);
      leaves.set(name, leaf);
      const others = sharers.get(leaf.buffer) ?? 0;
      sharers.set(leaf.buffer, others + 1);
      if (others === 0) bytes += leaf.buffer.byteLength;
      for (const [oldest, old] of leaves) {
        if (bytes <= maxBytes) return;
        drop(oldest, old);
      }
    },
    get bytes() {
      return bytes;
    },
  };
}
