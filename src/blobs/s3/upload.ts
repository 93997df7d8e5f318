/**
 * Brings a verified file into the bucket. A small one is one request, a larger one a multipart
 * upload; either way the object appears at once and whole. Memory is parts in flight times their
 * size, over all uploads of the store, because the slots are shared.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { readFully } from '../reader.ts';
import type { Bucket, SignedBytes } from './bucket.ts';
import { createSlots } from './slots.ts';

const MIB = 1024 * 1024;
/** Of S3: parts an upload, bytes a part but the last. */
const MAX_PARTS = 10_000;
const PARTS_IN_FLIGHT = 4;
/** Read and hashed in one go: long enough to be fast, short enough that others get their turn. */
const SLICE_BYTES = MIB;

export interface Uploader {
  /** Writes the file's `size` bytes to `key`; answers with the object's etag. Nothing is left behind when it fails. */
  upload(key: string, file: FileHandle, size: number): Promise<string>;
}

export function createUploader(bucket: Bucket, partBytes: number, closing: AbortSignal): Uploader {
  const slots = createSlots(PARTS_IN_FLIGHT);

  async function inParts(key: string, file: FileHandle, size: number): Promise<string> {
    const length = partLength(size, partBytes);
    const id = await bucket.beginParts(key, closing);
    const failed = new AbortController();
    const signal = AbortSignal.any([closing, failed.signal]);
    try {
      const parts: Promise<string>[] = [];
      for (let start = 0; start < size; start += length) {
        const number = parts.length + 1;
        const part = slots.run(async () => {
          signal.throwIfAborted();
          const bytes = await readSigned(file, start, Math.min(length, size - start), size);
          return bucket.putPart(key, id, number, bytes, signal);
        });
        part.catch((error: unknown) => failed.abort(error));
        parts.push(part);
      }
      const ends = await Promise.allSettled(parts);
      failed.signal.throwIfAborted();
      const etags = ends.map((end) => (end.status === 'fulfilled' ? end.value : ''));
      return await bucket.completeParts(key, id, etags, size);
    } catch (error) {
      // When this fails too, the next start finds the rest.
      await bucket.abortParts(key, id).catch(() => undefined);
      throw error;
    }
  }

  return {
    upload: (key, file, size) =>
      size > partBytes
        ? inParts(key, file, size)
        : slots.run(async () => bucket.put(key, await readSigned(file, 0, size, size), closing)),
  };
}

/** Bytes of each part but the last, so that the blob has no more parts than S3 takes. */
function partLength(size: number, wanted: number): number {
  return Math.max(wanted, Math.ceil(size / MAX_PARTS / MIB) * MIB);
}

async function readSigned(
  file: FileHandle,
  start: number,
  length: number,
  size: number,
): Promise<SignedBytes> {
  const bytes = Buffer.allocUnsafeSlow(length);
  const hash = createHash('sha256');
  for (let at = 0; at < length; at += SLICE_BYTES) {
    const slice = bytes.subarray(at, Math.min(at + SLICE_BYTES, length));
    await readFully(file, start + at, slice, size);
    hash.update(slice);
  }
  return { bytes, sha256: hash.digest('hex') };
}
