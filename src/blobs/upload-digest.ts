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
  /**
   * The hex digest of the file's first `size` bytes, all that was written. May be asked again; after more bytes, or
   * by another algorithm than was announced, at the price of hashing the file.
   */
  hex(size: number, algorithm: DigestAlgorithm): Promise<string>;
  /** Resolves when the file is let go. */
  close(): Promise<void>;
}

/** `size`: what the file holds already. `announced`: the algorithm that bytes are hashed with while they come. */
export function createUploadDigest(
  path: string,
  size: number,
  hashing: UploadHashing,
  announced: DigestAlgorithm = 'sha256',
): UploadDigest {
  let small: Hash | undefined = size === 0 ? createHash(announced) : undefined;
  let follower: DigestFollower | undefined;
  let lost = false;
  let told = 0;
  /** A commit that failed for another reason is tried again, perhaps when the file has its new name already. */
  const known = new Map<DigestAlgorithm, { readonly size: number; readonly hex: string }>();

  const follow = (upTo: number): void => {
    small = undefined;
    follower ??= hashing.followDigest(path, announced);
    if (upTo - told < TELL_BYTES) return;
    told = upTo;
    follower.advance(upTo);
  };
  const compute = async (now: number): Promise<string> => {
    if (small) return small.copy().digest('hex');
    if (!follower) return hashing.digestFile(path, announced);
    const running = follower;
    follower = undefined;
    lost = true;
    // The follower is lost with its thread; the bytes are not.
    return running.finish(now).catch(() => hashing.digestFile(path, announced));
  };
  return {
    written(chunks, now) {
      if (small && now <= SMALL_BYTES) for (const chunk of chunks) small.update(chunk);
      else if (!lost) follow(now);
    },
    async hex(now, algorithm) {
      const before = known.get(algorithm);
      if (before?.size === now) return before.hex;
      const hex = await (algorithm === announced ? compute(now) : hashing.digestFile(path, algorithm));
      known.set(algorithm, { size: now, hex });
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
