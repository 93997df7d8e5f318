import { type FileHandle, rm } from 'node:fs/promises';
import { type Digest, type DigestAlgorithm, digestAlgorithm, digestHex } from '#oci';
import { asStoreError, BlobStoreError } from './errors.ts';
import type { BlobInfo, BlobWriter } from './port.ts';
import { readFully } from './reader.ts';
import { createUploadDigest, type UploadHashing } from './upload-digest.ts';
import { createBackgroundSync, createWriteBehind, writeAll } from './write-behind.ts';

/** What a writer needs of its store. */
export interface WriterOwner {
  readonly hashing: UploadHashing;
  /** Makes the file a complete blob, or drops it when the blob is there already. */
  adopt(path: string, handle: FileHandle, digest: Digest, size: number): Promise<BlobInfo>;
  /** Makes the file's name durable, as `datasync` does its bytes. */
  syncName(): Promise<void>;
  /** The writer is done or let go. */
  ended(id: string): void;
  /** More bytes can be read back. */
  readonly onGrowth?: ((size: number) => void) | undefined;
}

/**
 * A sequential upload. `given` is the size of the file: 0 for a new one. A resumed upload has no hash
 * state, so its file is hashed from its beginning.
 */
export function createWriter(
  id: string,
  path: string,
  handle: FileHandle,
  given: number,
  owner: WriterOwner,
  algorithm: DigestAlgorithm = 'sha256',
): BlobWriter {
  let size = given;
  /** A failed write may have left bytes behind `size` that could not be cut off at once. */
  let excess = false;
  const digest = createUploadDigest(path, given, owner.hashing, algorithm);
  const sync = createBackgroundSync(handle);
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
  /** The upload is anybody's again when the thread has let go of the file too, whatever else fails. */
  const letGo = async (): Promise<void> => {
    const [file] = await Promise.allSettled([handle.close(), digest.close()]);
    owner.ended(id);
    if (file.status === 'rejected') throw file.reason;
  };
  /** Closing waits for a running write, so the next writer of this upload finds the file at rest. */
  const end = (): Promise<void> => {
    state = 'ended';
    ending ??= letGo();
    return ending;
  };
  const finish = <T>(work: () => Promise<T>): Promise<T> => {
    if (state !== 'idle') return exclusively(work);
    const running = exclusively(work);
    finishing = running;
    return running;
  };
  /** Bytes behind `size` would be taken for the upload's after a restart. */
  const cutExcess = async (): Promise<void> => {
    if (!excess) return;
    await handle.truncate(size);
    excess = false;
  };
  const write = async (chunks: readonly Uint8Array[], bytes: number): Promise<void> => {
    await cutExcess();
    try {
      await writeAll(handle, size, chunks);
      sync.written(bytes);
    } catch (error) {
      excess = true;
      // When this fails too, whoever writes or syncs next tries again.
      await cutExcess().catch(() => undefined);
      throw error;
    }
    // First the file, then the hash: after a failed write both still agree on `size`.
    size += bytes;
    digest.written(chunks, size);
    owner.onGrowth?.(size);
  };

  return {
    id,
    get size() {
      return size;
    },
    append: (source, limits = {}) =>
      exclusively(async () => {
        const most = limits.maxBytes ?? Number.POSITIVE_INFINITY;
        let received = 0;
        const behind = createWriteBehind(write);
        try {
          for await (const chunk of source) {
            received += chunk.length;
            if (received > most) throw new BlobStoreError('too-large', `more than ${most} bytes`);
            if (isEnded()) throw new BlobStoreError('closed');
            await behind.add(chunk);
          }
        } finally {
          await behind.flush();
        }
      }),
    async read(position, into) {
      if (isEnded()) throw new BlobStoreError('closed');
      if (position + into.length > size) throw new BlobStoreError('invalid', `byte ${position} is not here`);
      await readFully(handle, position, into, size).catch((error: unknown) => {
        throw isEnded() ? new BlobStoreError('closed', undefined, { cause: error }) : error;
      });
    },
    sync: () =>
      exclusively(async () => {
        await cutExcess();
        await sync.settled();
        await handle.datasync();
        if (!isNamed) await owner.syncName();
        isNamed = true;
      }),
    commit: (expected, options = {}) =>
      finish(async () => {
        await cutExcess();
        await sync.settled();
        const wanted = digestAlgorithm(expected);
        const actual = await digest.hex(size, wanted);
        if (actual !== digestHex(expected)) {
          throw new BlobStoreError('digest-mismatch', `expected ${expected}, got ${wanted}:${actual}`);
        }
        const info = await owner.adopt(path, handle, expected, size);
        options.onStored?.();
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
