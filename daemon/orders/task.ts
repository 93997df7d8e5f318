/** One order under way: tried again after what may pass, and reported as it stands. */
import { setTimeout as delay } from 'node:timers/promises';
import { OciError } from '#oci';
import { NO_BYTES, type Order, type Report } from '#orders';
import type { Logger } from '#telemetry';
import { type Prefetch, type PrefetchParts, startPrefetch } from './prefetch.ts';

export interface Task {
  readonly order: Order;
  report(): Report;
  /** Stops, and keeps the pieces that are here. */
  cancel(): void;
  /** Never rejects. */
  readonly ended: Promise<void>;
}

const TRIES = 6;
const FIRST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 15_000;
const MAX_REASON = 500;

export function startTask(
  order: Order,
  context: PrefetchParts & {
    /** What fails while the origin is out is no failure of the image. */
    readonly isOriginHere: () => boolean;
    /** It is done or has failed. */
    readonly onEnd: () => void;
    readonly log: Logger;
  },
): Task {
  const { log } = context;
  const stop = new AbortController();
  let state: Report['state'] = 'fetching';
  let reason: string | null = null;
  let current: Prefetch | undefined;

  async function run(): Promise<void> {
    for (let failures = 0; ; ) {
      try {
        current = startPrefetch(order, context, stop.signal);
        await current.finished;
        state = 'done';
        reason = current.progress().slowest;
        log.info({ order: order.id, repository: order.repository, digest: order.digest }, 'prefetched');
        return;
      } catch (error) {
        if (stop.signal.aborted) return;
        failures = context.isOriginHere() ? failures + 1 : 0;
        reason = (error instanceof Error ? error.message : String(error)).slice(0, MAX_REASON);
        const { id, repository } = order;
        if (failures >= TRIES || isFinal(error)) {
          state = 'failed';
          log.warn({ order: id, repository, reason }, 'an image could not be prefetched');
          return;
        }
        log.info({ order: id, repository, reason }, 'a prefetch is tried again');
        const wait = Math.min(MOST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.max(0, failures - 1));
        await delay(wait, undefined, { signal: stop.signal }).catch(() => undefined);
        if (stop.signal.aborted) return;
      }
    }
  }

  const ended = run().then(() => {
    if (!stop.signal.aborted) context.onEnd();
  });
  return {
    order,
    ended,
    cancel: () => stop.abort(new OciError('UNAVAILABLE', 'the prefetch was taken back')),
    report() {
      const { totalBytes, bytes, slowest } = current?.progress() ?? {
        ...{ totalBytes: 0, bytes: NO_BYTES, slowest: null },
      };
      const words = state === 'fetching' ? (reason ?? slowest) : reason;
      return {
        ...{ id: order.id, attempt: order.attempt, state, totalBytes, bytes },
        reason: words?.slice(0, MAX_REASON) ?? null,
      };
    },
  };
}

/** Trying again does not help. */
function isFinal(error: unknown): boolean {
  return (
    error instanceof OciError &&
    /^(?:MANIFEST_UNKNOWN|NAME_UNKNOWN|NAME_INVALID|NO_SPACE|DENIED|UNAUTHORIZED)$/.test(error.code)
  );
}
