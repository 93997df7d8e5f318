/**
 * How fast whole inventories are taken: a tracker that was restarted is told everything again by
 * everybody, and must go on answering those who download meanwhile. Who is refused tries again later.
 */
export interface ResyncBudget {
  /** Whether so many bytes may be taken now; if so they count. */
  take(bytes: number): boolean;
}

export function createResyncBudget(options: {
  readonly bytesPerSecond: number;
  /** What may be taken at once after a quiet time; at least as much as one inventory may have. */
  readonly burstBytes: number;
  /** Milliseconds, steadily rising. */
  readonly now: () => number;
}): ResyncBudget {
  const { bytesPerSecond, burstBytes, now } = options;
  let left = burstBytes;
  let at = now();
  return {
    take(bytes) {
      left = Math.min(burstBytes, left + ((now() - at) / 1000) * bytesPerSecond);
      at = now();
      if (bytes > left) return false;
      left -= bytes;
      return true;
    },
  };
}
