/**
 * The clock of the simulation: what happens when. An event is a kind and two numbers, kept in typed
 * arrays, so that millions of them cost no garbage. Messages, which all take the same time, wait
 * in a ring; everything else in a heap of four branches. Equal times keep their order, so a run can
 * be repeated.
 */

/** Does what an event says. */
export type Deliver = (kind: number, a: number, b: number) => void;

export interface Clock {
  /** Milliseconds since the beginning. */
  readonly now: number;
  /** Events so far. */
  readonly count: number;
  at(time: number, kind: number, a: number, b: number): void;
  /** After the latency of a message. */
  soon(kind: number, a: number, b: number): void;
  /** For what happens seldom. */
  call(time: number, run: () => void): void;
  /** Runs until nothing is left, or until `end` milliseconds. */
  run(end: number, deliver: Deliver): void;
}

/** The kind of `call`; all others are the simulation's own. */
const CALL = -1;

const BRANCHES = 4;

function grown<A extends Float64Array | Int32Array>(array: A, length: number): A {
  const next = new (array.constructor as new (length: number) => A)(length);
  next.set(array);
  return next;
}

export function createClock(latencyMs: number): Clock {
  let now = 0;
  let count = 0;
  const calls: (() => void)[] = [];

  // The heap: times and orders move, what happens stays in its slot.
  let times = new Float64Array(1_024);
  let orders = new Float64Array(1_024);
  let slots = new Int32Array(1_024);
  let happens = new Int32Array(3 * 1_024);
  let size = 0;
  /** Slots that are free: the places of `slots` from `size` on, once they were used. */
  let used = 0;

  // The ring: its first is at `head`, and there are `length`.
  let capacity = 1_024;
  let ringTimes = new Float64Array(capacity);
  let ringOrders = new Float64Array(capacity);
  let ring = new Int32Array(3 * capacity);
  let head = 0;
  let length = 0;

  function growHeap(): void {
    const most = slots.length * 2;
    times = grown(times, most);
    orders = grown(orders, most);
    slots = grown(slots, most);
    happens = grown(happens, most * 3);
  }

  function push(time: number, kind: number, a: number, b: number): void {
    if (size === slots.length) growHeap();
    const slot = size < used ? (slots[size] ?? 0) : used++;
    happens[slot * 3] = kind;
    happens[slot * 3 + 1] = a;
    happens[slot * 3 + 2] = b;
    const order = count++;
    let at = size++;
    while (at > 0) {
      const parent = ((at - 1) / BRANCHES) | 0;
      // A new event is behind all of its time.
      if ((times[parent] ?? 0) <= time) break;
      times[at] = times[parent] ?? 0;
      orders[at] = orders[parent] ?? 0;
      slots[at] = slots[parent] ?? 0;
      at = parent;
    }
    times[at] = time;
    orders[at] = order;
    slots[at] = slot;
  }

  function before(a: number, b: number): boolean {
    const left = times[a] ?? 0;
    const right = times[b] ?? 0;
    return left < right || (left === right && (orders[a] ?? 0) < (orders[b] ?? 0));
  }

  /** Takes the first out; its slot goes to the end, to be used again. */
  function pop(): number {
    const slot = slots[0] ?? 0;
    const last = --size;
    const time = times[last] ?? 0;
    const order = orders[last] ?? 0;
    const lastSlot = slots[last] ?? 0;
    slots[last] = slot;
    if (last === 0) return slot;
    let at = 0;
    for (;;) {
      const from = at * BRANCHES + 1;
      if (from >= last) break;
      const to = Math.min(from + BRANCHES, last);
      let least = from;
      for (let child = from + 1; child < to; child++) if (before(child, least)) least = child;
      const leastTime = times[least] ?? 0;
      if (leastTime > time || (leastTime === time && (orders[least] ?? 0) > order)) break;
      times[at] = leastTime;
      orders[at] = orders[least] ?? 0;
      slots[at] = slots[least] ?? 0;
      at = least;
    }
    times[at] = time;
    orders[at] = order;
    slots[at] = lastSlot;
    return slot;
  }

  function growRing(): void {
    const nextTimes = new Float64Array(capacity * 2);
    const nextOrders = new Float64Array(capacity * 2);
    const next = new Int32Array(capacity * 6);
    for (let step = 0; step < length; step++) {
      const at = (head + step) & (capacity - 1);
      nextTimes[step] = ringTimes[at] ?? 0;
      nextOrders[step] = ringOrders[at] ?? 0;
      for (let part = 0; part < 3; part++) next[step * 3 + part] = ring[at * 3 + part] ?? 0;
    }
    ringTimes = nextTimes;
    ringOrders = nextOrders;
    ring = next;
    head = 0;
    capacity *= 2;
  }

  /** Whether the first of the ring is before the first of the heap. */
  function ringFirst(): boolean {
    if (length === 0) return false;
    if (size === 0) return true;
    const time = ringTimes[head] ?? 0;
    const other = times[0] ?? 0;
    return time < other || (time === other && (ringOrders[head] ?? 0) < (orders[0] ?? 0));
  }

  return {
    get now() {
      return now;
    },
    get count() {
      return count;
    },
    at(time, kind, a, b) {
      push(Math.max(time, now), kind, a, b);
    },
    soon(kind, a, b) {
      if (length === capacity) growRing();
      const at = (head + length++) & (capacity - 1);
      ringTimes[at] = now + latencyMs;
      ringOrders[at] = count++;
      ring[at * 3] = kind;
      ring[at * 3 + 1] = a;
      ring[at * 3 + 2] = b;
    },
    call(time, run) {
      push(Math.max(time, now), CALL, calls.push(run) - 1, 0);
    },
    run(end, deliver) {
      while (size + length > 0) {
        const fromRing = ringFirst();
        const time = (fromRing ? ringTimes[head] : times[0]) ?? 0;
        if (time > end) return;
        now = time;
        if (fromRing) {
          const at = head * 3;
          head = (head + 1) & (capacity - 1);
          length--;
          deliver(ring[at] ?? 0, ring[at + 1] ?? 0, ring[at + 2] ?? 0);
          continue;
        }
        const at = pop() * 3;
        const kind = happens[at] ?? 0;
        if (kind === CALL) calls[happens[at + 1] ?? 0]?.();
        else deliver(kind, happens[at + 1] ?? 0, happens[at + 2] ?? 0);
      }
    },
  };
}
