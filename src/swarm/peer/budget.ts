/**
 * What a peer may waste: messages that change nothing (a HAVE twice, a cancel of nothing, a
 * request that is refused, toggling interest). Useful messages cost nothing: they are bounded by
 * the blob and by the queue. A peer that overdraws only burns our processor, and is closed.
 */

/** Room for two full request queues that cross a choke on the wire. */
const CAPACITY = 8_192;

/** Turns of uploading choke and unchoke dozens of times a second, and requests cross each choke on the wire. */
const REFILL_PER_SECOND = 1_024;

export interface WasteBudget {
  /** Counts wasted messages; false when the budget is overdrawn. */
  spend(count: number, now: number): boolean;
}

export function createWasteBudget(startedAt: number): WasteBudget {
  let left = CAPACITY;
  let at = startedAt;
  return {
    spend(count, now) {
      left = Math.min(CAPACITY, left + ((now - at) / 1000) * REFILL_PER_SECOND) - count;
      at = now;
      return left >= 0;
    },
  };
}
