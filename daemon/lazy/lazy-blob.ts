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

/** Fetches a run: calls `onLeaf` for each verified leaf in order, with bytes that are good for that call; rejects when there will be no more. */
export type FetchRun = (run: LeafRun, onLeaf: (index: number, bytes: Uint8Array) => void) => Promise<void>;

/** Who waits for a leaf. */
interface Waiter {
  take(leaf: Uint8Array): void;
  fail(error: unknown): void;
}

export function createLazyBlob(options: {
  readonly leaves: Leaves;
  readonly memory: LeafMemory;
  readonly readAheadBytes: number;
  readonly fetchRun: FetchRun;
}): LazyBlob {
  const { leaves, fetchRun } = options;
  const { leafLength, length } = leaves;
  const shelf = options.memory.shelf();
  const lastLeaf = Math.ceil(length / leafLength) - 1;
  const readAhead = createReadAhead(Math.floor(options.readAheadBytes / leafLength));
  /** Leaves that are on their way. */
  const coming = new Map<number, Waiter[]>();

  function fetch(run: LeafRun): void {
    for (let index = run.first; index <= run.last; index += 1) coming.set(index, []);
    const arrived = (index: number, bytes: Uint8Array): void => {
      shelf.put(index, bytes);
      const waiters = coming.get(index) ?? [];
      coming.delete(index);
      for (const waiter of waiters) waiter.take(bytes);
    };
    fetchRun(run, arrived).catch((error: unknown) => {
      for (let index = run.first; index <= run.last; index += 1) {
        const waiters = coming.get(index) ?? [];
        coming.delete(index);
        for (const waiter of waiters) waiter.fail(error);
      }
    });
  }

  function hasAll(first: number, last: number): boolean {
    for (let index = first; index <= last; index += 1) if (!shelf.has(index)) return false;
    return true;
  }

  /** Begins to fetch what of these leaves is neither here nor coming, one run for what is adjacent. */
  function want(first: number, last: number): void {
    let from: number | undefined;
    for (let index = first; index <= last + 1; index += 1) {
      const lacks = index <= last && !coming.has(index) && !shelf.has(index);
      if (lacks) {
        from ??= index;
      } else if (from !== undefined) {
        fetch({ first: from, last: index - 1 });
        from = undefined;
      }
    }
  }

  /** Resolves when `take` has been given the leaf. `last`: as far as this read goes, should the leaf have left the memory again. */
  function arrival(index: number, last: number, take: (leaf: Uint8Array) => void): Promise<void> {
    if (!coming.has(index)) want(index, last);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        take(leaf) {
          take(leaf);
          resolve();
        },
        fail: reject,
      };
      const waiters = coming.get(index);
      if (waiters) waiters.push(waiter);
      else reject(new RangeError(`there is no leaf ${index}`));
    });
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
        if (!shelf.has(index)) await arrival(index, last, () => undefined);
      }
    },
    async read(position, into) {
      const last = Math.floor((position + into.length - 1) / leafLength);
      for (let at = 0; at < into.length; ) {
        const index = Math.floor((position + at) / leafLength);
        const offset = position + at - index * leafLength;
        const taken = Math.min(into.length - at, leafSize(leaves, index) - offset);
        const target = into.subarray(at, at + taken);
        if (!shelf.read(index, offset, target)) {
          await arrival(index, last, (leaf) => target.set(leaf.subarray(offset, offset + taken)));
        }
        at += taken;
      }
    },
  };
}
