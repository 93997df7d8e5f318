/** How long the event loop of this process was held up, and how much of that was garbage collection. */
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';

export interface Lag {
  /** Delays of a timer of 1 ms, in milliseconds. */
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Collections of garbage: all of them, and the longest; milliseconds. */
  readonly gcMs: number;
  readonly longestGcMs: number;
}

/** Measures from now on; the function answers with what was seen since it was last called. */
export function watchLag(): () => Lag {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  let [gcMs, longestGcMs] = [0, 0];
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      gcMs += duration;
      longestGcMs = Math.max(longestGcMs, duration);
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  return () => {
    const lag = { p99Ms: delays.percentile(99) / 1e6, maxMs: delays.max / 1e6, gcMs, longestGcMs };
    delays.reset();
    [gcMs, longestGcMs] = [0, 0];
    return lag;
  };
}
