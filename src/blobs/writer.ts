import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, rm } from 'node:fs/promises';
import { type Digest, digestHex } from '#oci';
import { asStoreError, BlobStoreError } from './errors.ts';
import type { BlobInfo, BlobWriter } from './port.ts';
import { writeFully } from './reader.ts';

/** What a writer needs of its store. */
export interface WriterOwner {
  sha256File(path: string): Promise<string>;
  /** Makes the file a complete blob, or drops it when the blob is there already. */
  adopt(path: string, handle: FileHandle, digest: Digest, size: number): Promise<BlobInfo>;
  /** Makes the file's name durable, as `datasync` does its bytes. */
  syncName(): Promise<void>;
  /** The writer is done or let go. */
  ended(id: string): void;
}

/**
 * A sequential upload. `size` is that of the file: 0 for a new one. A resumed upload has no hash
 * state, so its file is hashed whole at the commit.
 */
export function createWriter(
  id: string,
  path: string,
  handle: FileHandle,
  given: number,
  owner: WriterOwner,
): BlobWriter {
  let size = given;
  const hash: Hash | undefined = given === 0 ? createHash('sha256') : undefined;
  let state: 'idle' | 'busy' | 'ended' = 'idle';
  // What was found in the folder may not have been synced before the process was killed.
  let isNamed = false;
  let finishing: Promise<unknown> | undefined;
  let ending: Promise<void> | undefined;
  const isEnded = (): boolean => state === 'ended';

  const exclusively = async <T>(work: () => Promise<T>): Promise<T> => {
    if (state === 'ended') throw new BlobStoreError('closed');
    if (state === 'busy') throw new BlobStoreError('busy');
    state = 'busy';
    try {
      return await work();
    } catch (error) {
      // The handle was closed under the work: the cause is that, not EBADF.
      throw isEnded() && !(error instanceof BlobStoreError)
        ? new BlobStoreError('closed', undefined, { cause: error })
        : asStoreError(error);
    } finally {
      if (state === 'busy') state = 'idle';
    }
  };
  /** Closing waits for a running write, so the next writer of this upload finds the file at rest. */
  const end = (): Promise<void> => {
    state = 'ended';
    ending ??= handle.close().finally(() => owner.ended(id));
    return ending;
  };
  const finish = <T>(work: () => Promise<T>): Promise<T> => {
    if (state !== 'idle') return exclusively(work);
    const running = exclusively(work);
    finishing = running;
    return running;
  };
  const write = async (chunk: Uint8Array): Promise<void> => {
    try {
      await writeFully(handle, size, chunk);
    } catch (error) {
      // What a failed write left behind `size` must not count after a restart.
      await handle.truncate(size).catch(() => undefined);
      throw error;
    }
  };

  return {
    id,
    get size() {
      return size;
    },
    append: (source, limits = {}) =>
      exclusively(async () => {
        const most = limits.maxBytes ?? Number.POSITIVE_INFINITY;
        const start = size;
        for await (const chunk of source) {
          if (size - start + chunk.length > most)
            throw new BlobStoreError('too-large', `more than ${most} bytes`);
          if (isEnded()) throw new BlobStoreError('closed');
          // First the file, then the hash: after a failed write both still agree on `size`.
          await write(chunk);
          hash?.update(chunk);
          size += chunk.length;
        }
      }),
    sync: () =>
      exclusively(async () => {
        await handle.datasync();
        if (!isNamed) await owner.syncName();
        isNamed = true;
      }),
    commit: (expected) =>
      finish(async () => {
        await handle.truncate(size);
        const actual = hash ? hash.copy().digest('hex') : await owner.sha256File(path);
        if (actual !== digestHex(expected)) {
          throw new BlobStoreError('digest-mismatch', `expected ${expected}, got sha256:${actual}`);
        }
        const info = await owner.adopt(path, handle, expected, size);
        await end();
        return info;
      }),
    cancel: () =>
      finish(async () => {
        await rm(path, { force: true });
        await end();
      }),
    async close() {
      await finishing?.catch(() => undefined);
      await end();
    },
  };
}
