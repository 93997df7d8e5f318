/** Blobs for tests: incompressible, repeatable, and never held in memory whole. */
import { createCipheriv, createHash } from 'node:crypto';
import type { Readable } from 'node:stream';

const CHUNK = 1 << 20;

/** `size` bytes that follow from `seed` alone, in chunks of at most 1 MiB. */
export function* content(seed: number, size: number): Generator<Buffer> {
  const key = Buffer.alloc(16);
  key.writeUInt32BE(seed);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK);
  for (let left = size; left > 0; left -= CHUNK)
    yield cipher.update(zeros.subarray(0, Math.min(CHUNK, left)));
}

/** The digest of `content(seed, size)`. */
export function contentDigest(seed: number, size: number): string {
  const hash = createHash('sha256');
  for (const chunk of content(seed, size)) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}

/** The digest of all that a stream brings, and how much that was. */
export async function digestOf(
  stream: Readable | AsyncIterable<Uint8Array>,
): Promise<{ digest: string; size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { digest: `sha256:${hash.digest('hex')}`, size };
}
