/** Bytes per second over the last seconds: an average in which older bytes count less and less. */

/** After this time a change of speed shows by two thirds. */
const TIME_CONSTANT_MS = 2_000;

/** The shortest span that is averaged; below it bytes are only added up. */
const MIN_SPAN_MS = 100;

export interface Meter {
  /** Counts bytes. */
  add(bytes: number): void;
  /** Bytes per second as of `now` (milliseconds). */
  rate(now: number): number;
  /** All bytes that were ever counted. */
  readonly total: number;
}

export function createMeter(startedAt: number): Meter {
  let total = 0;
  let pending = 0;
  let average = 0;
  let at = startedAt;
  let weight = 0;
  return {
    get total() {
      return total;
    },
    add(bytes) {
      total += bytes;
      pending += bytes;
    },
    rate(now) {
      const span = now - at;
      if (span >= MIN_SPAN_MS) {
        const keep = Math.exp(-span / TIME_CONSTANT_MS);
        average = average * keep + (pending / span) * 1000 * (1 - keep);
        // What has not been measured yet does not count as zero: the first second would read low.
        weight = weight * keep + (1 - keep);
        pending = 0;
        at = now;
      }
      return weight === 0 ? 0 : average / weight;
    },
  };
}
