/**
 * One copy on disk beside containerd: what a client has taken is soon in containerd's content store too, and then one of the two
 * copies is enough. Looked for a few times after a blob was used, and for all blobs at the start and every ten minutes, which also
 * finds out what containerd has collected. See src/blobs/sharing.ts for how, docs/decisions/0064 for why.
 */
import path from 'node:path';
import type { DownloadStore, SharedAs } from '#blobs';
import { createBoundedMap } from '#bounded';
import { type Digest, digestAlgorithm, digestHex } from '#oci';
import type { Logger } from '#telemetry';
import { createPause } from '#waiting';
import type { Cache } from './cache.ts';
import type { Pins } from './pins.ts';

/** containerd commits a blob after its last byte, at once or when the disk has it. */
const LOOKS_MS = [500, 2_000, 10_000, 60_000] as const;
const SWEEP_MS = 10 * 60_000;
/** More were used within a minute: the next sweep finds them. */
const MOST_WAITING = 10_000;
const STEP_MS = 250;

export interface ContentStore {
  /** Nobody uses this blob any more. */
  used(digest: Digest): void;
  close(): Promise<void>;
}

/** Where containerd keeps a blob below its content store's folder. */
export function contentFile(folder: string, digest: Digest): string {
  return path.join(folder, 'blobs', digestAlgorithm(digest), digestHex(digest));
}

export function startSharing(options: {
  readonly store: DownloadStore;
  readonly cache: Pick<Cache, 'gone' | 'inUse'>;
  readonly pins: Pick<Pins, 'has'>;
  readonly ready: Promise<unknown>;
  readonly onShared: (how: SharedAs) => void;
  readonly log: Logger;
}): ContentStore {
  const { store, cache, pins, log } = options;
  const stop = new AbortController();
  /** When to look for what next, and how often that was done. */
  const waiting = new Map<Digest, { at: number; looks: number }>();
  /** Counted as shared. */
  const done = createBoundedMap<Digest, true>(MOST_WAITING);
  const pause = createPause();

  async function share(digest: Digest): Promise<boolean> {
    if (cache.inUse(digest)) return false;
    // What is pinned stays here whatever containerd collects.
    const how = await store.share(digest, !pins.has(digest));
    if (how === 'no-other') return false;
    if ((how === 'linked' || how === 'borrowed') && done.get(digest) === undefined) {
      done.set(digest, true);
      options.onShared(how);
      log.debug({ digest, how }, 'a blob is on this disk once');
    }
    return true;
  }

  async function lookAgain(): Promise<void> {
    const now = performance.now();
    for (const [digest, look] of waiting) {
      if (look.at > now) continue;
      stop.signal.throwIfAborted();
      const isDone = await share(digest);
      look.looks += 1;
      const next = LOOKS_MS[look.looks];
      if (isDone || next === undefined) waiting.delete(digest);
      else look.at = performance.now() + next;
    }
  }

  async function sweep(): Promise<void> {
    for await (const { digest, outside } of store.list()) {
      stop.signal.throwIfAborted();
      if (outside && !(await store.stat(digest))) {
        // containerd has collected it.
        done.delete(digest);
        await cache.gone(digest);
      } else if (!outside) await share(digest);
    }
  }

  async function run(): Promise<void> {
    await options.ready;
    let sweepAt = 0;
    for (;;) {
      try {
        if (performance.now() >= sweepAt) {
          await sweep();
          sweepAt = performance.now() + SWEEP_MS;
        }
        await lookAgain();
      } catch (error) {
        stop.signal.throwIfAborted();
        log.warn({ err: error }, "containerd's content store cannot be shared now");
        sweepAt = performance.now() + SWEEP_MS;
      }
      const pauseMs = waiting.size > 0 ? STEP_MS : Math.max(0, sweepAt - performance.now());
      // Ends sooner when a blob was used.
      await pause.wait(pauseMs, stop.signal);
      stop.signal.throwIfAborted();
    }
  }
  const ended = run().catch((error: unknown) => {
    if (!stop.signal.aborted) log.error({ err: error }, 'sharing with containerd has ended');
  });

  return {
    used(digest) {
      if (waiting.size >= MOST_WAITING) return;
      waiting.set(digest, { at: performance.now() + LOOKS_MS[0], looks: 0 });
      pause.wake();
    },
    async close() {
      stop.abort();
      await ended;
    },
  };
}
