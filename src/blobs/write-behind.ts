/**
 * How a push gets to disk: what comes is gathered and written in large steps, one step on its way while the
 * next is gathered, so that memory holds two steps at most. Every so often what was written is synced in
 * the background, so that the sync at the end has little left to do, however large the blob.
 */
import type { FileHandle } from 'node:fs/promises';

/** Measured: steps of 64 KiB, as they come from a socket, take a third more processor time. */
const STEP_BYTES = 1024 * 1024;
/** A client that sends a byte at a time fills no memory with their descriptions. */
const STEP_CHUNKS = 1024;
/** What a slow client sends does not wait longer than this for the next of its bytes. */
const STEP_MS = 100;
const SYNC_BYTES = 64 * 1024 * 1024;

export interface WriteBehind {
  /** Takes bytes that the caller does not touch again. Waits while two steps are full. */
  add(chunk: Uint8Array): Promise<void>;
  /** Resolves when all that was added is written. */
  flush(): Promise<void>;
}

/** `write` puts a step behind the one before. After it failed everything rejects with its error. */
export function createWriteBehind(
  write: (chunks: readonly Uint8Array[], bytes: number) => Promise<void>,
): WriteBehind {
  let chunks: Uint8Array[] = [];
  let bytes = 0;
  let startedAt = 0;
  /** Writes what has come, though nothing follows it: somebody may be reading behind the writer. */
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();

  const writeGathered = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    if (bytes === 0) return Promise.resolve();
    const step = [chunks, bytes] as const;
    startedAt = performance.now();
    chunks = [];
    bytes = 0;
    return write(...step);
  };
  const start = (): void => {
    running = running.then(writeGathered);
    // Whoever adds or flushes next is told.
    running.catch(() => undefined);
  };
  return {
    async add(chunk) {
      chunks.push(chunk);
      bytes += chunk.length;
      const full = bytes >= STEP_BYTES || chunks.length >= STEP_CHUNKS;
      const left = startedAt + STEP_MS - performance.now();
      if (!full && left > 0) {
        timer ??= setTimeout(start, left);
        return;
      }
      const before = running;
      start();
      await before;
    },
    flush() {
      start();
      return running.finally(() => clearTimeout(timer));
    },
  };
}

export interface BackgroundSync {
  /** So many more bytes were written. @throws the error of an earlier sync: what it lost is not told twice */
  written(bytes: number): void;
  /** Resolves when no sync runs and none has failed. What was written since the last is not synced. */
  settled(): Promise<void>;
}

/** Syncs a file now and then while it is written. */
export function createBackgroundSync(handle: FileHandle): BackgroundSync {
  let unsynced = 0;
  let running: Promise<void> | undefined;
  let failure: { readonly error: unknown } | undefined;

  const sync = async (): Promise<void> => {
    try {
      await handle.datasync();
    } catch (error) {
      failure ??= { error };
    }
    running = undefined;
  };
  const check = (): void => {
    if (failure) throw failure.error;
  };
  return {
    written(bytes) {
      check();
      unsynced += bytes;
      if (unsynced < SYNC_BYTES || running !== undefined) return;
      unsynced = 0;
      running = sync();
    },
    async settled() {
      await running;
      check();
    },
  };
}

/** Writes all of `chunks` one behind the other from `position`. */
export async function writeAll(
  handle: FileHandle,
  position: number,
  chunks: readonly Uint8Array[],
): Promise<void> {
  let left = chunks;
  for (let at = position; left.length > 0; ) {
    const { bytesWritten } = await handle.writev([...left], at);
    at += bytesWritten;
    left = after(left, bytesWritten);
    if (bytesWritten === 0 && left.length > 0) throw new Error('the file system takes no more bytes');
  }
}

/** What is left of `chunks` after their first `bytes`. */
function after(chunks: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let skipped = 0;
  for (const [index, chunk] of chunks.entries()) {
    if (skipped + chunk.length > bytes) return [chunk.subarray(bytes - skipped), ...chunks.slice(index + 1)];
    skipped += chunk.length;
  }
  return [];
}
