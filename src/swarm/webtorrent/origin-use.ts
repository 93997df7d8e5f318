/**
 * When the origin may be asked. It is a peer like any other, used least: other members come first,
 * and the origin gives what they lack or are too slow to give. Pure: state in, decision out.
 */

/** How long discovery and the first connections to other members may take before the origin is dialled. */
export const ORIGIN_GRACE_MS = 250;
/** A member that is being dialled or has not said yet what it has is waited for this long in all. */
const INTRODUCTION_MS = 1_500;
/** Below this the other members are slow, bytes per second. */
const SLOW_BYTES_PER_SECOND = 1024 * 1024;
/** How long they must have been slow. */
const SLOW_FOR_MS = 2_000;

export interface OriginView {
  /** Milliseconds since the download began. */
  readonly ageMs: number;
  /** Connected members that are no origin and have said what they have. */
  readonly others: number;
  /** Members that are no origin and are being dialled, or are about to be, or have not said what they have. */
  readonly introducing: number;
  /** Missing pieces that none of the others has. */
  readonly unavailable: number;
  /** How long the others together have been below the slow rate, in milliseconds. */
  readonly slowForMs: number;
}

/** `missing`: only pieces that no other member has. `all`: any piece. */
export type OriginUse = 'none' | 'missing' | 'all';

export function originUse(view: OriginView): OriginUse {
  if (view.ageMs < ORIGIN_GRACE_MS) return 'none';
  if (view.introducing > 0 && view.ageMs < INTRODUCTION_MS) return 'none';
  if (view.others === 0 || view.slowForMs >= SLOW_FOR_MS) return 'all';
  return view.unavailable > 0 ? 'missing' : 'none';
}

/** The rate below which others count as slow; a configured limit on our own download lowers it. */
export function slowRate(downloadLimitBytesPerSecond: number | undefined): number {
  return Math.min(SLOW_BYTES_PER_SECOND, (downloadLimitBytesPerSecond ?? Number.POSITIVE_INFINITY) / 2);
}
