/** Rates from samples of what was received, and round numbers for an axis. No DOM. */
/** Milliseconds since the epoch; bytes received until then, from agents and from the origin. */
export type Point = readonly [at: number, peer: number, origin: number];

export interface Rate {
  /** Seconds since the first point. */
  readonly at: number;
  readonly peer: number;
  readonly origin: number;
}

/** Agents report every few seconds: over less than this a rate would only show when they did. */
const LEAST_MS = 4_000;

export function ratesOf(points: readonly Point[]): Rate[] {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return [];
  const window = Math.max(LEAST_MS, (last[0] - first[0]) / 60);
  let from = 0;
  const rates = points.slice(1).map((point, before) => {
    while (from < before && point[0] - (points[from + 1]?.[0] ?? 0) >= window) from += 1;
    const [at, peer, origin] = points[from] ?? point;
    const seconds = Math.max(0.001, (point[0] - at) / 1000);
    return {
      at: (point[0] - first[0]) / 1000,
      peer: Math.max(0, point[1] - peer) / seconds,
      origin: Math.max(0, point[2] - origin) / seconds,
    };
  });
  return [{ at: 0, peer: 0, origin: 0 }, ...rates];
}

/** Some three round numbers up to `most`. */
export function ticksOf(most: number): number[] {
  if (most <= 0) return [];
  const rough = most / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((each) => each * power >= rough) ?? 10) * power;
  return Array.from({ length: Math.floor(most / step) }, (_, at) => (at + 1) * step);
}
