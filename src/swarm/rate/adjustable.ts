/**
 * A rate limit that may change while it is in use. Who waits for a turn of the limit before gets it by that one,
 * which is soon; whoever asks from now on waits for the new one.
 */
import { createRateLimiter, type RateLimiter } from './limiter.ts';

export interface AdjustableLimiter extends RateLimiter {
  /** Undefined: no limit from now on. */
  setRate(bytesPerSecond: number | undefined): void;
}

export function createAdjustableLimiter(
  bytesPerSecond: number | undefined,
  now?: () => number,
): AdjustableLimiter {
  let rate = bytesPerSecond;
  let current = createRateLimiter(rate, now);
  const used = new Set([current]);
  return {
    get limited() {
      return current.limited;
    },
    get quantumBytes() {
      return current.quantumBytes;
    },
    ask: (turn) => current.ask(turn),
    refund: (bytes) => current.refund(bytes),
    setRate(next) {
      if (next === rate) return;
      rate = next;
      current = createRateLimiter(rate, now);
      for (const limiter of used) if (limiter.waiting === 0) used.delete(limiter);
      used.add(current);
    },
    close() {
      for (const limiter of used) limiter.close();
    },
    get waiting() {
      return [...used].reduce((sum, limiter) => sum + limiter.waiting, 0);
    },
  };
}
