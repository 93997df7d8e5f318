/** Hashes of a blob's leaves and of all of it, from bytes that come in order and in parts of any length. */
import { createHash } from 'node:crypto';
import type { DigestAlgorithm } from '#oci';
import type { LeafHashes } from './protocol.ts';

const HASH_BYTES = 32;

export interface LeafHasher {
  update(part: Uint8Array): void;
  finish(): LeafHashes;
}

/** `size`: bytes that will come. */
export function leafHasher(
  size: number,
  leafLength: number,
  algorithm: DigestAlgorithm | 'sha1',
): LeafHasher {
  const hashes = new Uint8Array(HASH_BYTES * Math.ceil(size / leafLength));
  const whole = createHash(algorithm);
  let leaf = createHash('sha256');
  let index = 0;
  let inLeaf = 0;
  const endLeaf = (): void => {
    hashes.set(leaf.digest(), index * HASH_BYTES);
    leaf = createHash('sha256');
    index += 1;
    inLeaf = 0;
  };
  return {
    update(part) {
      whole.update(part);
      for (let at = 0; at < part.length; ) {
        const bytes = part.subarray(at, at + leafLength - inLeaf);
        leaf.update(bytes);
        inLeaf += bytes.length;
        at += bytes.length;
        if (inLeaf === leafLength) endLeaf();
      }
    },
    finish() {
      if (inLeaf > 0) endLeaf();
      return { hashes, digest: whole.digest('hex') };
    },
  };
}
