/**
 * The blobs that are read lazily. The leaf hashes of each are asked for once and kept in memory, as are
 * the leaves; both are bounded. What cannot be had lazily is not tried again for a while, and its reads go
 * the way of every other: by a download of the whole blob.
 */
import type { Digest } from '#oci';
import type { Logger } from '#telemetry';
import type { Leaves } from '#torrent';
import type { Accounts } from '../accounts/index.ts';
import { forgetFirst } from '../forget-first.ts';
import { SMALL_BLOB_BYTES } from '../metainfo-source.ts';
import type { AgentMetrics } from '../metrics.ts';
import type { OriginClient } from '../origin-client.ts';
import type { Ask } from '../origins.ts';
import { formatRepository, type Repository } from '../repository.ts';
import { createLazyBlob, type FetchRun, type LazyBlob } from './lazy-blob.ts';
import { fetchLeaves, WrongLeafError } from './leaf-fetch.ts';
import { createLeafMemory } from './leaf-memory.ts';
import { createSlots } from './slots.ts';

export interface LazyLimits {
  /** The longest range that is read lazily, bytes; 0: none is. */
  readonly maxRangeBytes: number;
  /** Leaves that are kept in memory, bytes. */
  readonly memoryBytes: number;
  /** A blob of which more than this share was fetched lazily is downloaded whole; above 1: never. */
  readonly wholeAfterShare: number;
}

export const DEFAULT_LAZY: LazyLimits = {
  maxRangeBytes: 4 * 1024 ** 2,
  memoryBytes: 64 * 1024 ** 2,
  wholeAfterShare: 0.25,
};

export interface LazyReads {
  /** Whether a closed range of so many bytes is read lazily. */
  takes(bytes: number): boolean;
  /** The blob, to be read lazily; undefined when that cannot be: take the usual way. */
  open(repository: Repository, digest: Digest, ask: Ask): Promise<LazyBlob | undefined>;
  /** Whether it was opened before and not forgotten. */
  knows(digest: Digest): boolean;
  /** The blob is in the cache by now. */
  forget(digest: Digest): void;
  /** Breaks off what is being fetched. */
  close(): Promise<void>;
}

const READ_AHEAD_BYTES = 1024 ** 2;
/** Requests to origins that run at once; others wait for their turn. */
const MAX_FETCHES = 32;
/** One request: 5 MiB at most. */
const FETCH_DEADLINE_MS = 20_000;
/** Leaf hashes that are kept, of all blobs together: those of 16 blobs of 1 GiB. */
const MAX_LISTS_BYTES = 32 * 1024 ** 2;
/** An origin that nobody asked before hashes the blob first, at about 0.7 GiB a second. */
const LIST_WAIT_MS = 5_000;
const RETRY_MS = 10_000;
const WRONG_MS = 60_000;
const KEPT_REFUSALS = 1_000;

interface OpenBlob {
  readonly blob: LazyBlob;
  /** Bytes of its leaf hashes. */
  readonly listBytes: number;
}

export function createLazyReads(options: {
  readonly origin: Pick<OriginClient, 'leaves' | 'blobRange'>;
  readonly metrics: Pick<AgentMetrics, 'fetchedOverHttp' | 'pieceRejected'>;
  readonly accounts: Pick<Accounts, 'of'>;
  readonly limits: LazyLimits;
  /** The size of a blob as a manifest gave it. */
  readonly sizeHint: (digest: Digest) => number | undefined;
  /** Much of this blob was read: better to have all of it. */
  readonly fetchWhole: (repository: Repository, digest: Digest) => Promise<unknown>;
  readonly log: Logger;
}): LazyReads {
  const { origin, metrics, limits, log } = options;
  const memory = createLeafMemory(limits.memoryBytes);
  /** Least recently used first. */
  const blobs = new Map<Digest, OpenBlob>();
  const openings = new Map<Digest, Promise<OpenBlob | undefined>>();
  /** Until when lazy reads are not tried. */
  const refusals = new Map<string, number>();
  const closing = new AbortController();
  const slots = createSlots(MAX_FETCHES);
  const fetches = new Set<AbortController>();
  let listBytes = 0;

  const refusalOf = (repository: Repository, digest: Digest): string =>
    `${formatRepository(repository)} ${digest}`;

  function refuse(repository: Repository, digest: Digest, ms: number): void {
    refusals.set(refusalOf(repository, digest), performance.now() + ms);
    forgetFirst(refusals, KEPT_REFUSALS);
  }

  function isRefused(repository: Repository, digest: Digest): boolean {
    if (refusals.size === 0) return false;
    const until = refusals.get(refusalOf(repository, digest));
    return until !== undefined && until > performance.now();
  }

  function fetcher(repository: Repository, leaves: Leaves): FetchRun {
    const { digest } = leaves;
    const tally = options.accounts.of(repository, digest);
    let fetchedBytes = 0;
    let whole = false;
    const arrived = (bytes: number): void => {
      metrics.fetchedOverHttp(bytes);
      tally.fetched('originHttp', bytes);
      fetchedBytes += bytes;
      if (whole || fetchedBytes <= limits.wholeAfterShare * leaves.length) return;
      whole = true;
      log.info({ digest, fetchedBytes }, 'much of the blob was read lazily; fetching all of it');
      options.fetchWhole(repository, digest).catch((error: unknown) => {
        log.debug({ digest, err: error }, 'the blob is not fetched whole now');
        fetchedBytes = 0;
        whole = false;
      });
    };
    return async (run, onLeaf) => {
      const release = await slots.take();
      // Cheaper than to derive a signal from two others, and this happens for every read.
      const fetch = new AbortController();
      const timer = setTimeout(() => fetch.abort(new Error('the origin was too slow')), FETCH_DEADLINE_MS);
      fetches.add(fetch);
      try {
        closing.signal.throwIfAborted();
        const { signal } = fetch;
        await fetchLeaves({ origin, repository, leaves, run, onLeaf, onBytes: arrived, ask: { signal } });
      } catch (error) {
        const wrong = error instanceof WrongLeafError;
        if (wrong) metrics.pieceRejected();
        if (!closing.signal.aborted) log.warn({ digest, run, err: error }, 'leaves not had from the origin');
        refuse(repository, digest, wrong ? WRONG_MS : RETRY_MS);
        throw error;
      } finally {
        clearTimeout(timer);
        fetches.delete(fetch);
        release();
      }
    };
  }

  async function openBlob(repository: Repository, digest: Digest, ask: Ask): Promise<OpenBlob> {
    const { requestId } = ask;
    const leaves = await origin.leaves(repository, digest, { requestId, signal: closing.signal });
    const fetchRun = fetcher(repository, leaves);
    const blob = createLazyBlob({ leaves, memory, readAheadBytes: READ_AHEAD_BYTES, fetchRun });
    return { blob, listBytes: leaves.hashes.length };
  }

  function remember(digest: Digest, opened: OpenBlob): void {
    blobs.set(digest, opened);
    listBytes += opened.listBytes;
    for (const [oldest, old] of blobs) {
      if (listBytes <= MAX_LISTS_BYTES || oldest === digest) return;
      blobs.delete(oldest);
      listBytes -= old.listBytes;
    }
  }

  function begin(repository: Repository, digest: Digest, ask: Ask): Promise<OpenBlob | undefined> {
    const opening = openBlob(repository, digest, ask)
      .then(
        (opened) => {
          remember(digest, opened);
          return opened;
        },
        (error: unknown) => {
          log.debug({ digest, err: error }, 'the blob cannot be read lazily now');
          refuse(repository, digest, RETRY_MS);
          return undefined;
        },
      )
      .finally(() => openings.delete(digest));
    openings.set(digest, opening);
    return opening;
  }

  return {
    takes: (bytes) => bytes <= limits.maxRangeBytes,
    async open(repository, digest, ask) {
      const known = blobs.get(digest);
      if (isRefused(repository, digest)) return undefined;
      // It comes whole with the first request.
      if ((options.sizeHint(digest) ?? Number.POSITIVE_INFINITY) <= SMALL_BLOB_BYTES) return undefined;
      if (known) {
        blobs.delete(digest);
        blobs.set(digest, known);
      }
      const opened = known ?? (await soon(openings.get(digest) ?? begin(repository, digest, ask)));
      return opened && opened.blob.length > SMALL_BLOB_BYTES ? opened.blob : undefined;
    },
    knows: (digest) => blobs.has(digest),
    forget(digest) {
      listBytes -= blobs.get(digest)?.listBytes ?? 0;
      blobs.delete(digest);
    },
    async close() {
      closing.abort(new Error('the agent is stopping'));
      for (const fetch of fetches) fetch.abort(closing.signal.reason);
      await Promise.allSettled(openings.values());
    },
  };
}

/** A client waits: the list may come later, for the reads that follow. */
function soon(opening: Promise<OpenBlob | undefined>): Promise<OpenBlob | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), LIST_WAIT_MS);
  return Promise.race([opening, promise]).finally(() => clearTimeout(timer));
}
