/**
 * Reads of seeded blobs in windows of 256 KiB: neighbouring blocks, which members ask for one after
 * the other, cost one read of the store. One cache for all blobs, so its memory is bounded.
 */
import type { PieceStore } from '../port.ts';

const WINDOW_BYTES = 256 * 1024;
const MAX_WINDOWS = 48;

export interface BlockCache {
  /** `length` bytes of one piece; the window never leaves the piece, so never the verified bytes. */
  read(
    store: PieceStore,
    piece: { readonly position: number; readonly size: number },
    offset: number,
    length: number,
  ): Promise<Uint8Array>;
}

export function createBlockCache(): BlockCache {
  // By store, so that a blob that is closed takes its windows with it.
  const windows = new Map<string, Promise<Uint8Array>>();
  const ids = new WeakMap<PieceStore, number>();
  let nextId = 0;

  const idOf = (store: PieceStore): number => {
    const known = ids.get(store);
    if (known !== undefined) return known;
    nextId += 1;
    ids.set(store, nextId);
    return nextId;
  };

  const window = (store: PieceStore, position: number, bytes: number): Promise<Uint8Array> => {
    const key = `${idOf(store)}:${position}`;
    const cached = windows.get(key);
    if (cached !== undefined) {
      windows.delete(key);
      windows.set(key, cached);
      return cached;
    }
    const into = Buffer.allocUnsafeSlow(bytes);
    const reading = store.read(position, into).then(
      () => into,
      (error: unknown) => {
        windows.delete(key);
        throw error;
      },
    );
    windows.set(key, reading);
    for (const oldest of windows.keys()) {
      if (windows.size <= MAX_WINDOWS) break;
      windows.delete(oldest);
    }
    return reading;
  };

  return {
    read: async (store, piece, offset, length) => {
      const start = Math.floor(offset / WINDOW_BYTES) * WINDOW_BYTES;
      const end = Math.min(piece.size, start + WINDOW_BYTES);
      if (offset + length <= end) {
        const bytes = await window(store, piece.position + start, end - start);
        return bytes.subarray(offset - start, offset - start + length);
      }
      // A block across two windows: odd sizes of odd clients, not worth a copy of the cache.
      const block = Buffer.allocUnsafe(length);
      await store.read(piece.position + offset, block);
      return block;
    },
  };
}
