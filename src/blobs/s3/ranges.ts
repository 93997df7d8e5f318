/**
 * One range of an object as a stream of chunks that survives a cut: what is left is asked for
 * again from where it broke off, while the object is still the same.
 */
import type { Readable } from 'node:stream';
import { BlobStoreError } from '../errors.ts';
import type { Bucket } from './bucket.ts';
import { asS3Error } from './errors.ts';

/** Between two chunks, once we wait for one. */
const STALL_MS = 30_000;
/** Attempts without a byte in between. */
const ATTEMPTS = 3;

export interface ObjectRange {
  readonly key: string;
  readonly etag: string;
  readonly start: number;
  /** Inclusive. */
  readonly end: number;
}

/** The bytes of a range. Ends with 'not-found' when the object changed, with 'unavailable' when it cannot be had. */
export async function* readRange(
  bucket: Pick<Bucket, 'get'>,
  { key, etag, start, end }: ObjectRange,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let at = start;
  for (let attempt = 1; at <= end; attempt += 1) {
    const body = await bucket.get(key, etag, { start: at, end }, signal);
    const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    try {
      for (;;) {
        const { done, value } = await within(STALL_MS, body, chunks.next());
        if (done) break;
        if (value.length > end + 1 - at)
          throw new BlobStoreError('unavailable', 'the answer is longer than what was asked for');
        at += value.length;
        attempt = 0;
        yield value;
      }
      if (at <= end) throw new BlobStoreError('unavailable', 'the answer ended early');
    } catch (error) {
      if (signal.aborted) throw new BlobStoreError('closed');
      if (attempt >= ATTEMPTS) throw asS3Error('GetObject', error);
    } finally {
      body.destroy();
    }
  }
}

/** Breaks the body off when nothing comes. */
async function within<T>(ms: number, body: Readable, next: Promise<T>): Promise<T> {
  const timer = setTimeout(
    () => body.destroy(new BlobStoreError('unavailable', `no byte came for ${ms} ms`)),
    ms,
  );
  try {
    return await next;
  } finally {
    clearTimeout(timer);
  }
}
