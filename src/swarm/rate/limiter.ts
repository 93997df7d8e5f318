/**
 * A token bucket that gives turns. Whoever has something to send asks for a turn; turns are given
 * first come first served while there are tokens, and a turn tells how many bytes it used. A turn
 * may overdraw, and the debt delays the next turn, so the long-term rate is exact whatever the
 * size of the turns. There is a timer only while somebody waits.
 */

/** Saved-up tokens: a tenth of a second. More would show as a burst above the rate. */
const BURST_SECONDS = 0.1;

/** A turn should use about this much time of the rate, so that many peers advance evenly. */
const QUANTUM_SECONDS = 0.02;

const MIN_QUANTUM_BYTES = 16_384;

/** Runs when it is this taker's turn; returns the bytes it used (0 when it had nothing after all). */
export type Turn = () => number;

export interface RateLimiter {
  /** Whether there is a limit at all. */
  readonly limited: boolean;
  /** Bytes that one turn should use at most, so that peers share evenly; Infinity without a limit. */
  readonly quantumBytes: number;
  /** Asks for a turn; it may run before this returns. Asking again while waiting gives a second turn. */
  ask(turn: Turn): void;
  /** Gives bytes back that a turn used and that did not move after all (a request that was rejected). */
  refund(bytes: number): void;
  /**
   * Another rate from now on; undefined is no limit. What was saved or is owed stays the same in time, so that a
   * lower rate neither bursts nor stands still first.
   */
  setRate(bytesPerSecond: number | undefined): void;
  /** Forgets who waits and stops the timer. */
  close(): void;
}

/** A limiter for `bytesPerSecond`; without it every turn runs at once. `now` is in milliseconds. */
export function createRateLimiter(
  bytesPerSecond: number | undefined,
  now: () => number = () => performance.now(),
): RateLimiter {
  let rate = bytesPerSecond ?? Number.POSITIVE_INFINITY;
  /** In seconds of the rate: saved when positive, owed when negative. */
  let credit = BURST_SECONDS;
  let filledAt = now();
  let waiting: Turn[] = [];
  let timer: NodeJS.Timeout | undefined;
  let serving = false;

  function fill(): void {
    const at = now();
    credit = Math.min(BURST_SECONDS, credit + (at - filledAt) / 1000);
    filledAt = at;
  }

  function serve(): void {
    if (serving) return;
    serving = true;
    timer = undefined;
    fill();
    while (credit > 0) {
      const turn = waiting.shift();
      if (turn === undefined) break;
      credit -= turn() / rate;
    }
    serving = false;
    if (waiting.length > 0 && timer === undefined) {
      timer = setTimeout(serve, Math.max(1, Math.ceil(-credit * 1000)));
    }
  }

  return {
    get limited() {
      return rate !== Number.POSITIVE_INFINITY;
    },
    get quantumBytes() {
      return Math.max(MIN_QUANTUM_BYTES, rate * QUANTUM_SECONDS);
    },
    ask(turn) {
      if (rate === Number.POSITIVE_INFINITY && waiting.length === 0) return void turn();
      waiting.push(turn);
      if (timer === undefined) serve();
    },
    refund(bytes) {
      credit = Math.min(BURST_SECONDS, credit + bytes / rate);
    },
    setRate(next) {
      fill();
      rate = next ?? Number.POSITIVE_INFINITY;
      if (rate === Number.POSITIVE_INFINITY) credit = BURST_SECONDS;
      clearTimeout(timer);
      timer = undefined;
      if (waiting.length > 0) serve();
    },
    close() {
      clearTimeout(timer);
      timer = undefined;
      waiting = [];
    },
  };
}
