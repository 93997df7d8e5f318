/**
 * The leaf hashes of the blobs that somebody reads lazily: computed at the first request, in a worker
 * thread and one blob at a time, then kept in the database until the blob is deleted. They take at most
 * 1/512 of the blob's size, and only blobs that were asked for have them.
 */
import type { Level } from 'level';
import type { BlobStore } from '#blobs';
import type { Digest } from '#oci';
import { createLeaves, encodeLeaves, leafLengthFor } from '#torrent';
import type { Exclusive } from './exclusive.ts';

export interface LeafLists {
  /** The encoded leaf hashes, computed now when they must be; undefined when the blob is not here. */
  of(digest: Digest): Promise<Buffer | undefined>;
  /** Forgets those of a blob that is being deleted. Called in the digest's turn. */
  forget(digest: Digest): Promise<void>;
  /** Waits for what runs, and starts nothing more. */
  close(): Promise<void>;
}

export function openLeafLists(options: {
  readonly level: Level<string, Uint8Array>;
  readonly blobs: Pick<BlobStore, 'stat' | 'hashLeaves'>;
  readonly perDigest: Exclusive;
}): LeafLists {
  const { blobs, perDigest } = options;
  const kept = options.level.sublevel<string, Uint8Array>('leaves', { valueEncoding: 'view' });
  const running = new Map<Digest, Promise<Buffer | undefined>>();
  let last: Promise<unknown> = Promise.resolve();
  let closed = false;

  async function compute(digest: Digest): Promise<Buffer | undefined> {
    const blob = closed ? undefined : await blobs.stat(digest);
    if (blob === undefined) return undefined;
    const hashes = await blobs.hashLeaves(digest, leafLengthFor(blob.size));
    if (hashes === undefined) return undefined;
    const list = encodeLeaves(createLeaves({ digest, length: blob.size, hashes }));
    // A deletion may have come meanwhile; in the digest's turn the answer holds.
    return perDigest.run(digest, async () => {
      if ((await blobs.stat(digest)) === undefined) return undefined;
      await kept.put(digest, list);
      return list;
    });
  }

  /** Pushes need the other threads: one list at a time, whoever asks for how many. */
  function inTurn(digest: Digest): Promise<Buffer | undefined> {
    const task = last.then(() => compute(digest)).finally(() => running.delete(digest));
    last = task.catch(() => undefined);
    running.set(digest, task);
    return task;
  }

  return {
    async of(digest) {
      const known = await kept.get(digest);
      if (known !== undefined) return Buffer.from(known.buffer, known.byteOffset, known.byteLength);
      return running.get(digest) ?? inTurn(digest);
    },
    forget: (digest) => kept.del(digest),
    async close() {
      closed = true;
      await last;
    },
  };
}
