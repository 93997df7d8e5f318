/**
 * The digest of an upload while it comes. The first bytes are hashed here, which is all there is to do for a
 * small blob; for a larger one a thread reads the file behind the writer, and the event loop is spared.
 */
import { createHash, type Hash } from 'node:crypto';
import type { DigestFollower, Hashing } from '#hashing';
import type { DigestAlgorithm } from '#oci';

/** Hashed in a millisecond; a thread takes part of one to be told. */
const SMALL_BYTES = 1024 * 1024;
/** What comes is told to the thread in steps of this size: a message costs the event loop as much as writing them. */
const TELL_BYTES = 4 * 1024 * 1024;

export type UploadHashing = Pick<Hashing, 'followDigest' | 'digestFile'>;

export interface UploadDigest {
  /** These bytes were written to the file, and it has `size` bytes now. */
  written(chunks: readonly Uint8Array[], size: number): void;
  /** The hex digest of the file's first `size` bytes, all that was written. May be asked again; after more bytes at the price of hashing anew. */
  hex(size: number): Promise<string>;
  /** Resolves when the file is let go. */
  close(): Promise<void>;
}

/** `size`: what the file holds already. */
export function createUploadDigest(
  path: string,
  size: number,
  hashing: UploadHashing,
  algorithm: DigestAlgorithm = 'sha256',
): UploadDigest {
  let small: Hash | undefined = size === 0 ? createHash(algorithm) : undefined;
  let follower: DigestFollower | undefined;
  let lost = false;
  let told = 0;
  /** A commit that failed for another reason is tried again, perhaps when the file has its new name already. */
  let known: { readonly size: number; readonly hex: string } | undefined;

  const follow = (upTo: number): void => {
    small = undefined;
    follower ??= hashing.followDigest(path, algorithm);
    if (upTo - told < TELL_BYTES) return;
    told = upTo;
    follower.advance(upTo);
  };
  const compute = async (now: number): Promise<string> => {
    if (small) return small.copy().digest('hex');
    if (!follower) return hashing.digestFile(path, algorithm);
    const running = follower;
    follower = undefined;
    lost = true;
    // The follower is lost with its thread; the bytes are not.
    return running.finish(now).catch(() => hashing.digestFile(path, algorithm));
  };
  return {
    written(chunks, now) {
      if (small && now <= SMALL_BYTES) for (const chunk of chunks) small.update(chunk);
      else if (!lost) follow(now);
    },
    async hex(now) {
      if (known?.size === now) return known.hex;
      const hex = await compute(now);
      known = { size: now, hex };
      return hex;
    },
    async close() {
      const running = follower;
      follower = undefined;
      lost = true;
      await running?.abort();
    },
  };
}
