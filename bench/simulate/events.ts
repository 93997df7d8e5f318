/** The clock of the simulation: a heap of what happens when. Equal times keep their order, so a run can be repeated. */

export interface Events {
  /** Milliseconds since the beginning. */
  readonly now: number;
  readonly count: number;
  at(time: number, run: () => void): void;
  /** Runs until nothing is left, or until `end` milliseconds. */
  run(end: number): void;
}

export function createEvents(): Events {
  const times: number[] = [];
  const orders: number[] = [];
  const runs: (() => void)[] = [];
  let now = 0;
  let count = 0;

  const time = (at: number): number => times[at] ?? 0;
  const order = (at: number): number => orders[at] ?? 0;
  const before = (a: number, b: number): boolean =>
    time(a) < time(b) || (time(a) === time(b) && order(a) < order(b));

  function swap(a: number, b: number): void {
    [times[a], times[b]] = [time(b), time(a)];
    [orders[a], orders[b]] = [order(b), order(a)];
    const left = runs[a];
    const right = runs[b];
    if (left === undefined || right === undefined) return;
    runs[a] = right;
    runs[b] = left;
  }

  function sink(): void {
    for (let at = 0; ; ) {
      let least = at;
      if (at * 2 + 1 < times.length && before(at * 2 + 1, least)) least = at * 2 + 1;
      if (at * 2 + 2 < times.length && before(at * 2 + 2, least)) least = at * 2 + 2;
      if (least === at) return;
      swap(at, least);
      at = least;
    }
  }

  return {
    get now() {
      return now;
    },
    get count() {
      return count;
    },
    at(when, run) {
      times.push(Math.max(when, now));
      orders.push(count++);
      runs.push(run);
      for (let at = times.length - 1; at > 0; ) {
        const parent = (at - 1) >> 1;
        if (!before(at, parent)) break;
        swap(at, parent);
        at = parent;
      }
    },
    run(end) {
      while (times.length > 0 && time(0) <= end) {
        now = time(0);
        swap(0, times.length - 1);
        times.pop();
        orders.pop();
        const run = runs.pop();
        sink();
        run?.();
      }
    },
  };
}
