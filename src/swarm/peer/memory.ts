/**
 * Send buffers of all uploads: reused by size, bounded in all. Whoever finds the bound reached
 * waits its turn.
 */

const MIN_BLOCKS_BYTES = 32_768;
const MAX_BLOCKS_BYTES = 1024 * 1024;

/** Room for the headers of the blocks: 13 bytes to 16 KiB, with some to spare for short blocks. */
const HEADER_SHARE = 1 / 1_024;

/** Bytes of blocks and headers that fit into the largest buffer. */
export const LARGEST_BUFFER_BYTES = MAX_BLOCKS_BYTES * (1 + HEADER_SHARE);

/** A released buffer is kept for reuse up to this many bytes in all; the rest goes back to the system. */
const KEPT_BYTES = 16 * 1024 * 1024;

export interface SendMemory {
  /** A buffer of at least `bytes` (at most LARGEST_BUFFER_BYTES), or undefined when the bound is reached; then `retry` is called once when there is room. */
  take(bytes: number, retry: () => void): Buffer | undefined;
  give(buffer: Buffer): void;
}

function sizeClass(bytes: number): number {
  let blocks = MIN_BLOCKS_BYTES;
  while (blocks * (1 + HEADER_SHARE) < bytes) blocks *= 2;
  return blocks * (1 + HEADER_SHARE);
}

export function createSendMemory(maxBytes: number): SendMemory {
  const free = new Map<number, Buffer[]>();
  let kept = 0;
  let taken = 0;
  let waiting: (() => void)[] = [];
  return {
    take(bytes, retry) {
      const size = sizeClass(bytes);
      if (taken > 0 && taken + size > maxBytes) {
        waiting.push(retry);
        return undefined;
      }
      taken += size;
      const reused = free.get(size)?.pop();
      if (reused !== undefined) {
        kept -= size;
        return reused;
      }
      return Buffer.allocUnsafeSlow(size);
    },
    give(buffer) {
      taken -= buffer.length;
      if (kept + buffer.length <= KEPT_BYTES) {
        const list = free.get(buffer.length);
        if (list === undefined) free.set(buffer.length, [buffer]);
        else list.push(buffer);
        kept += buffer.length;
      }
      if (waiting.length === 0) return;
      const ready = waiting;
      waiting = [];
      for (const retry of ready) retry();
    },
  };
}
