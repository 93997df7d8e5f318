/**
 * Bytes of objects at any position, from chunks of 4 MiB that are kept while there is memory: a
 * member of the swarm asks for blocks of 16 KiB, and S3 answers each request after tens of
 * milliseconds and charges for it. A chunk is read once, whoever asks, and a reader gets its bytes
 * as soon as they are there, not when the chunk is full. After a chunk that follows one that was
 * read before, the next ones are fetched ahead.
 */
import { BlobStoreError } from '../errors.ts';
import type { Bucket, ObjectState } from './bucket.ts';
import { readRange } from './ranges.ts';

const CHUNK_BYTES = 4 * 1024 * 1024;
const READ_AHEAD = 2;

export interface CachedObject extends ObjectState {
  readonly key: string;
}

export interface Chunks {
  /** Fills `into` from `position`. The caller has checked that the object is that long. */
  read(object: CachedObject, position: number, into: Uint8Array): Promise<void>;
  /** Breaks off what is loading. */
  close(): void;
}

interface Chunk {
  readonly bytes: Buffer;
  readonly length: number;
  filled: number;
  state: 'loading' | 'full' | 'failed';
  failure?: unknown;
  /** Reads that need its bytes now. */
  users: number;
  wake: (() => void)[];
}

/** Keeps at most `maxBytes`, or as many chunks as reading ahead needs. `chunkBytes` is for tests. */
export function createChunks(
  bucket: Pick<Bucket, 'get'>,
  maxBytes: number,
  chunkBytes = CHUNK_BYTES,
): Chunks {
  /** Least recently used first. */
  const chunks = new Map<string, Chunk>();
  const most = Math.max(READ_AHEAD + 2, Math.floor(maxBytes / chunkBytes));
  const spare: Buffer[] = [];
  const roomWanted: (() => void)[] = [];
  const closing = new AbortController();
  let taken = 0;

  const nameOf = (object: CachedObject, index: number): string => `${object.etag}/${object.key}/${index}`;
  const idle = (chunk: Chunk): boolean => chunk.users === 0 && chunk.state !== 'loading';

  function drop(name: string, chunk: Chunk): void {
    if (chunks.get(name) === chunk) chunks.delete(name);
    taken -= 1;
    if (chunk.bytes.length === chunkBytes && spare.length + taken < most) spare.push(chunk.bytes);
  }

  /** Takes room for one more chunk, at the cost of the one that nobody used for longest. */
  function takeRoom(): boolean {
    if (taken >= most) {
      for (const [name, chunk] of chunks) {
        if (!idle(chunk)) continue;
        drop(name, chunk);
        break;
      }
    }
    if (taken >= most) return false;
    taken += 1;
    return true;
  }

  function wakeAll(list: (() => void)[]): void {
    for (const wake of list.splice(0)) wake();
  }

  async function load(object: CachedObject, index: number, chunk: Chunk): Promise<void> {
    const start = index * chunkBytes;
    const range = { key: object.key, etag: object.etag, start, end: start + chunk.length - 1 };
    try {
      for await (const part of readRange(bucket, range, closing.signal)) {
        part.copy(chunk.bytes, chunk.filled);
        chunk.filled += part.length;
        wakeAll(chunk.wake);
      }
      chunk.state = 'full';
    } catch (error) {
      chunk.state = 'failed';
      chunk.failure = error;
      // Who waits now is told; who comes later tries anew.
      const name = nameOf(object, index);
      if (chunks.get(name) === chunk) chunks.delete(name);
      if (chunk.users === 0) drop(name, chunk);
    }
    wakeAll(chunk.wake);
    wakeAll(roomWanted);
  }

  function start(object: CachedObject, index: number, users: number): Chunk {
    const length = Math.min(chunkBytes, object.size - index * chunkBytes);
    const kept = length > chunkBytes / 2 ? spare.pop() : undefined;
    const bytes = kept ?? Buffer.allocUnsafeSlow(length > chunkBytes / 2 ? chunkBytes : length);
    // A small one beside all the spare ones would be memory on top of what may be taken.
    if (spare.length + taken > most) spare.pop();
    const chunk: Chunk = { bytes, length, filled: 0, state: 'loading', users, wake: [] };
    chunks.set(nameOf(object, index), chunk);
    void load(object, index, chunk);
    return chunk;
  }

  /** The chunk, with its user counted at once: an idle one may be dropped at any time. */
  async function chunkAt(object: CachedObject, index: number): Promise<Chunk> {
    const name = nameOf(object, index);
    for (;;) {
      if (closing.signal.aborted) throw new BlobStoreError('closed');
      const known = chunks.get(name);
      if (known) {
        chunks.delete(name);
        chunks.set(name, known);
        known.users += 1;
        return known;
      }
      if (takeRoom()) return start(object, index, 1);
      await new Promise<void>((resolve) => roomWanted.push(resolve));
    }
  }

  function readAhead(object: CachedObject, index: number): void {
    if (!chunks.has(nameOf(object, index - 1))) return;
    for (let next = index + 1; next <= index + READ_AHEAD; next += 1) {
      if (next * chunkBytes >= object.size) return;
      if (!chunks.has(nameOf(object, next)) && takeRoom()) start(object, next, 0);
    }
  }

  async function readFrom(
    object: CachedObject,
    index: number,
    from: number,
    into: Uint8Array,
  ): Promise<void> {
    const chunk = await chunkAt(object, index);
    try {
      readAhead(object, index);
      while (chunk.filled < from + into.length) {
        if (chunk.state === 'failed') throw chunk.failure;
        await new Promise<void>((resolve) => chunk.wake.push(resolve));
      }
      into.set(chunk.bytes.subarray(from, from + into.length));
    } finally {
      chunk.users -= 1;
      if (chunk.users === 0) {
        if (chunk.state === 'failed') drop(nameOf(object, index), chunk);
        wakeAll(roomWanted);
      }
    }
  }

  return {
    async read(object, position, into) {
      for (let at = 0; at < into.length; ) {
        const index = Math.floor((position + at) / chunkBytes);
        const from = position + at - index * chunkBytes;
        const part = into.subarray(at, Math.min(into.length, at + chunkBytes - from));
        await readFrom(object, index, from, part);
        at += part.length;
      }
    },
    close() {
      closing.abort();
      wakeAll(roomWanted);
    },
  };
}
