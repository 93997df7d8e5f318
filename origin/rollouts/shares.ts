/**
 * A rollout's rate divided among the nodes that fetch. Shares move in steps of a quarter, so that ten
 * thousand nodes that end one after another cause some forty changes and not ten thousand; the sum
 * is never above the rate, and at least four fifths of it.
 */
const STEP = 1.25;

/** Bytes per second for each of `active` nodes. */
export function shareOf(bytesPerSecond: number, active: number): number {
  let steps = 1;
  while (steps < active) steps *= STEP;
  return Math.max(1, Math.floor(bytesPerSecond / Math.max(1, steps)));
}
