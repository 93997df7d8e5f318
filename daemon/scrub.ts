/**
 * The background scrub: hashes every cached blob again, one after another, for ever. It finds what the
 * check at a blob's opening cannot see: bytes that changed and left the file's size and time as they were.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { BlobStore } from '#blobs';
import type { Logger } from '#telemetry';
import type { MetainfoCatalog } from '#torrent';
import type { Cache } from './cache.ts';

/** Between two passes, and before the first: an agent that starts has better to do. */
const REST_MS = 60_000;
/** A timer holds no more milliseconds than a 32-bit number. */
const LONGEST_PAUSE_MS = 2 ** 31 - 1;

/** `bytesPerSecond`: on average; a blob is read at once, and then the scrub rests for as long as it is worth. */
export function startScrub(options: {
  readonly bytesPerSecond: number;
  readonly store: BlobStore;
  readonly catalog: MetainfoCatalog;
  readonly cache: Cache;
  readonly log: Logger;
  readonly restMs?: number | undefined;
}): { close(): Promise<void> } {
  const { store, catalog, cache, log, bytesPerSecond, restMs = REST_MS } = options;
  const stop = new AbortController();
  const pause = (ms: number): Promise<void> =>
    delay(Math.min(ms, LONGEST_PAUSE_MS), undefined, { signal: stop.signal, ref: false });

  async function pass(): Promise<void> {
    for await (const { digest, size } of store.list()) {
      const verdict = await store.verify(digest);
      // One that was evicted meanwhile is missing as well, and nobody knows its metainfo any more.
      if (verdict === 'damaged' || (verdict === 'missing' && (await catalog.get(digest)))) {
        await cache.lost(digest);
      }
      await pause((1000 * size) / bytesPerSecond);
    }
  }

  async function run(): Promise<void> {
    await store.counted;
    for (;;) {
      await pause(restMs);
      await pass().catch((error: unknown) => {
        stop.signal.throwIfAborted();
        log.error({ err: error }, 'a pass of the scrub failed');
      });
    }
  }

  const ended = run().catch((error: unknown) => {
    if (!stop.signal.aborted) log.error({ err: error }, 'the scrub has ended');
  });
  return {
    async close() {
      stop.abort();
      await ended;
    },
  };
}
