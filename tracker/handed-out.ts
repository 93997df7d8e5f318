/**
 * How much somebody was handed out lately, so that the next answers name others: each time counts
 * one, and half of it is forgotten every half-minute, about as long as a named peer is dialled for.
 */
export interface HandedOut {
  count: number;
  /** Milliseconds since the epoch, of `count`. */
  at: number;
}

const HALF_LIFE_MS = 30_000;

export function handedOutNow(so: HandedOut, now: number): number {
  return so.count === 0 ? 0 : so.count * 2 ** ((so.at - now) / HALF_LIFE_MS);
}

export function handOut(so: HandedOut, now: number): void {
  so.count = handedOutNow(so, now) + 1;
  so.at = now;
}
