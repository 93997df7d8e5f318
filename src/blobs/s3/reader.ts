import { Readable } from 'node:stream';
import type { Digest } from '#oci';
import { BlobStoreError } from '../errors.ts';
import type { BlobReader } from '../port.ts';
import type { Bucket } from './bucket.ts';
import type { CachedObject, Chunks } from './chunks.ts';
import { readRange } from './ranges.ts';

/** The next request's bytes may wait for the client, as much as a read of a file would bring. */
const STREAM_BYTES = 1024 * 1024;

/** What a reader needs of its store. */
export interface ReaderOwner {
  readonly bucket: Bucket;
  readonly chunks: Chunks;
  /** The object could not be read as it was recorded: it must be looked at before it is opened again. */
  doubt(): void;
  /** The reader and its streams are closed. */
  ended(): void;
}

/** Blocks come through the chunks, streams straight from S3. */
export function createReader(digest: Digest, object: CachedObject, owner: ReaderOwner): BlobReader {
  const { size } = object;
  let users = 1;
  let closed = false;
  const release = (): void => {
    users -= 1;
    if (users === 0) owner.ended();
  };
  const noticing = (error: unknown): unknown => {
    if (error instanceof BlobStoreError && error.code === 'not-found') owner.doubt();
    return error;
  };

  async function* bytes(start: number, end: number, signal: AbortSignal): AsyncGenerator<Buffer> {
    try {
      yield* readRange(owner.bucket, { key: object.key, etag: object.etag, start, end }, signal);
    } catch (error) {
      throw noticing(error);
    }
  }

  return {
    digest,
    size,
    has: () => true,
    async read(position, into) {
      if (closed) throw new BlobStoreError('closed');
      if (position < 0 || position + into.length > size)
        throw new BlobStoreError('invalid', 'outside the blob');
      await owner.chunks.read(object, position, into).catch((error: unknown) => {
        throw noticing(error);
      });
    },
    async write() {},
    stream({ start, end } = { start: 0, end: size - 1 }) {
      if (closed) throw new BlobStoreError('closed');
      if (start < 0 || end >= size)
        throw new BlobStoreError('invalid', `bytes ${start} to ${end} of ${size}`);
      if (end < start) return Readable.from([]);
      users += 1;
      const gone = new AbortController();
      const stream = Readable.from(bytes(start, end, gone.signal), {
        objectMode: false,
        highWaterMark: STREAM_BYTES,
      });
      return stream.once('close', () => {
        gone.abort();
        release();
      });
    },
    async close() {
      if (closed) return;
      closed = true;
      release();
    },
  };
}
