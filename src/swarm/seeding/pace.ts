/** How many pieces leave a seed: averaged, so that what is shown keeps up with what the links carry. */

const AVERAGE_MS = 1_000;

export interface Pace {
  /** A piece left. The measuring begins with the first time that is told. */
  left(now: number | undefined): void;
  /** Pieces a millisecond, as of now. */
  perMs(now: number): number;
}

export function createPace(): Pace {
  let lately = 0;
  let perMs = 0;
  let measuredAt: number | undefined;
  return {
    left(now) {
      if (now !== undefined) measuredAt ??= now;
      lately++;
    },
    perMs(now) {
      measuredAt ??= now;
      const span = now - measuredAt;
      if (span >= AVERAGE_MS / 4) {
        const keep = Math.exp(-span / AVERAGE_MS);
        perMs = perMs * keep + (lately / span) * (1 - keep);
        lately = 0;
        measuredAt = now;
      }
      return perMs;
    },
  };
}
