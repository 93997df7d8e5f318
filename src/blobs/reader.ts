import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Digest } from '#oci';
import { BlobStoreError } from './errors.ts';
import type { BlobReader } from './port.ts';

/** Measured: 1 MiB chunks move more than twice what the default 64 KiB do. */
const STREAM_CHUNK_BYTES = 1024 * 1024;

/** Wraps an open file. The handle is closed when the reader and all its streams are. */
export function createReader(digest: Digest, size: number, handle: FileHandle): BlobReader {
  let users = 1;
  let closed = false;
  const release = async (): Promise<void> => {
    users -= 1;
    if (users === 0) await handle.close();
  };
  return {
    digest,
    size,
    has: () => true,
    async read(position, into) {
      if (closed) throw new BlobStoreError('closed');
      await readFully(handle, position, into, size);
    },
    async write() {},
    stream({ start, end } = { start: 0, end: size - 1 }) {
      if (closed) throw new BlobStoreError('closed');
      if (start < 0 || end >= size)
        throw new BlobStoreError('invalid', `bytes ${start} to ${end} of ${size}`);
      if (end < start) return Readable.from([]);
      users += 1;
      return streamRange(handle, start, end, release);
    },
    async close() {
      if (closed) return;
      closed = true;
      await release();
    },
  };
}

/** Bytes `start` to `end` inclusive. Calls `release` once, at the end or when the stream is destroyed. */
function streamRange(handle: FileHandle, start: number, end: number, release: () => Promise<void>): Readable {
  let at = start;
  return new Readable({
    highWaterMark: STREAM_CHUNK_BYTES,
    read() {
      const wanted = Math.min(STREAM_CHUNK_BYTES, end + 1 - at);
      if (wanted === 0) {
        this.push(null);
        return;
      }
      handle.read(Buffer.allocUnsafeSlow(wanted), 0, wanted, at).then(
        ({ bytesRead, buffer }) => {
          at += bytesRead;
          if (bytesRead === 0)
            this.destroy(new BlobStoreError('not-found', 'the file is shorter than the blob'));
          else this.push(buffer.subarray(0, bytesRead));
        },
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, done) {
      release().then(() => done(error), done);
    },
  });
}

/** Fills `into` from `position`, or throws: 'invalid' outside the blob, the system's error otherwise. */
export async function readFully(
  handle: FileHandle,
  position: number,
  into: Uint8Array,
  size: number,
): Promise<void> {
  if (position < 0 || position + into.length > size) throw new BlobStoreError('invalid', 'outside the blob');
  for (let at = 0; at < into.length; ) {
    const { bytesRead } = await handle.read(into, at, into.length - at, position + at);
    if (bytesRead === 0) throw new BlobStoreError('not-found', 'the file is shorter than the blob');
    at += bytesRead;
  }
}

/** Writes all of `bytes` at `position`. */
export async function writeFully(handle: FileHandle, position: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}
