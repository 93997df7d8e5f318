/**
 * One blob that is read lazily: which of its leaves are in memory, which are on their way, and what to
 * fetch for a read. A leaf is fetched once however many reads need it at the same time.
 */
import type { ByteRange } from '#oci';
import { type Leaves, leafSize } from '#torrent';
import type { LeafRun } from './leaf-fetch.ts';
import type { LeafMemory } from './leaf-memory.ts';
import { createReadAhead } from './read-ahead.ts';

export interface LazyBlob {
  /** Bytes. */
  readonly length: number;
  /**
   * A client reads this range: begins to fetch what is missing of it, and what may come next.
   * `memory`: nothing was missing.
   */
  begin(range: ByteRange): 'memory' | 'origin';
  /** Resolves when all of the range is here. Rejects when it cannot be had lazily. */
  ready(range: ByteRange): Promise<void>;
  /** Fills `into` from `position` with verified bytes. Rejects when they cannot be had lazily. */
  read(position: number, into: Uint8Array): Promise<void>;
}

/** Fetches a run: calls `onLeaf` for each verified leaf in order, rejects when there will be no more. */
export type FetchRun = (run: LeafRun, onLeaf: (index: number, bytes: Buffer) => void) => Promise<void>;

export function createLazyBlob(options: {
  readonly leaves: Leaves;
  readonly memory: LeafMemory;
  readonly readAheadBytes: number;
  readonly fetchRun: FetchRun;
}): LazyBlob {
  const { leaves, memory, fetchRun } = options;
  const { digest, leafLength, length } = leaves;
  const lastLeaf = Math.ceil(length / leafLength) - 1;
  const readAhead = createReadAhead(Math.floor(options.readAheadBytes / leafLength));
  const coming = new Map<number, PromiseWithResolvers<Buffer>>();

  function fetch(run: LeafRun): void {
    for (let index = run.first; index <= run.last; index += 1) {
      const leaf = Promise.withResolvers<Buffer>();
      leaf.promise.catch(() => undefined);
      coming.set(index, leaf);
    }
    const arrived = (index: number, bytes: Buffer): void => {
      memory.put(digest, index, bytes);
      coming.get(index)?.resolve(bytes);
      coming.delete(index);
    };
    fetchRun(run, arrived).catch((error: unknown) => {
      for (let index = run.first; index <= run.last; index += 1) {
        coming.get(index)?.reject(error);
        coming.delete(index);
      }
    });
  }

  function hasAll(first: number, last: number): boolean {
    for (let index = first; index <= last; index += 1) if (!memory.has(digest, index)) return false;
    return true;
  }

  /** Begins to fetch what of these leaves is neither here nor coming, one run for what is adjacent. */
  function want(first: number, last: number): void {
    let from: number | undefined;
    for (let index = first; index <= last + 1; index += 1) {
      const lacks = index <= last && !coming.has(index) && !memory.has(digest, index);
      if (lacks) {
        from ??= index;
      } else if (from !== undefined) {
        fetch({ first: from, last: index - 1 });
        from = undefined;
      }
    }
  }

  /** `last`: as far as this read goes, should the leaf have left the memory again. */
  async function leaf(index: number, last: number): Promise<Buffer> {
    const kept = memory.get(digest, index);
    if (kept) return kept;
    if (!coming.has(index)) want(index, last);
    const here = await coming.get(index)?.promise;
    if (!here) throw new RangeError(`there is no leaf ${index}`);
    return here;
  }

  return {
    length,
    begin({ start, end }) {
      const first = Math.floor(start / leafLength);
      const last = Math.floor(end / leafLength);
      const until = Math.min(lastLeaf, readAhead.read(first, last));
      const from = hasAll(first, last) ? 'memory' : 'origin';
      want(first, until);
      return from;
    },
    async ready({ start, end }) {
      const last = Math.floor(end / leafLength);
      for (let index = Math.floor(start / leafLength); index <= last; index += 1) {
        if (!memory.has(digest, index)) await leaf(index, last);
      }
    },
    async read(position, into) {
      const last = Math.floor((position + into.length - 1) / leafLength);
      for (let at = 0; at < into.length; ) {
        const index = Math.floor((position + at) / leafLength);
        const offset = position + at - index * leafLength;
        const taken = Math.min(into.length - at, leafSize(leaves, index) - offset);
        const bytes = await leaf(index, last);
        into.set(bytes.subarray(offset, offset + taken), at);
        at += taken;
      }
    },
  };
}
