/**
 * What the agent may send and receive, and why. For each direction the first of these that says something counts:
 *   1. what an operator set while it runs (`shoal limits`), until the time that was given;
 *   2. while a rollout runs, the configured rollout rate;
 *   3. the schedule;
 *   4. the configured rate; without one there is no limit.
 * What a rollout itself asks for can only lower 2 to 4: the budget is the node's, not the origin's.
 * There is a timer only where there is something to wait for.
 */
import type { SwarmRates } from '#swarm';
import { type Rate, ratesAt, type Window, wallClock } from './schedule.ts';

export interface BudgetConfig extends SwarmRates {
  /** While a rollout runs; by default no other than else. */
  readonly rolloutUploadRate?: Rate | undefined;
  readonly rolloutDownloadRate?: Rate | undefined;
  /** Rates by time of day. */
  readonly schedule?: readonly Window[] | undefined;
  /** Of the schedule, an IANA name. Default UTC. */
  readonly timeZone?: string | undefined;
}

export const DIRECTIONS = ['upload', 'download'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** Set by hand, until then (milliseconds since the epoch) or until it is taken back. */
export interface Override {
  readonly rate: Rate;
  readonly until?: number;
}

/** A rollout that runs until then, and what it would have nodes use at most. */
export interface Rollout {
  readonly until: number;
  readonly upload?: number;
  readonly download?: number;
}

export interface BudgetState {
  readonly upload?: Override | undefined;
  readonly download?: Override | undefined;
  readonly rollout?: Rollout | undefined;
}

export interface Limit {
  readonly rate: Rate;
  readonly because: 'set' | 'rollout' | 'schedule' | 'configuration';
}
export type Limits = Readonly<Record<Direction, Limit>>;

/** As the swarm takes them. */
export function swarmRates({ upload, download }: Limits): SwarmRates {
  return {
    uploadRateBytesPerSecond: upload.rate === 'unlimited' ? undefined : upload.rate,
    downloadRateBytesPerSecond: download.rate === 'unlimited' ? undefined : download.rate,
  };
}

export interface Budget {
  readonly limits: Limits;
  readonly state: BudgetState;
  /** Sets what is given, takes back what is undefined; it holds when this returns. */
  set(next: BudgetState): void;
  /** A rollout began, goes on until another time, or is over (undefined). */
  rollout(rollout: Rollout | undefined): void;
  configure(config: BudgetConfig): void;
  /** Called with the limits at once, and whenever they change. */
  follow(listener: (limits: Limits) => void): void;
  close(): void;
}

/** Timers take no more than 24.8 days. */
const LONGEST_WAIT_MS = 3_600_000;
const MINUTE_MS = 60_000;

/** `now` is in milliseconds since the epoch. @throws RangeError for a time zone that does not exist */
export function createBudget(options: {
  readonly config: BudgetConfig;
  readonly state?: BudgetState;
  readonly now?: () => number;
}): Budget {
  const { now = Date.now } = options;
  const followers: ((limits: Limits) => void)[] = [];
  let { config } = options;
  let clock = wallClock(config.timeZone ?? 'UTC');
  let state: BudgetState = options.state ?? {};
  let limits = decide();
  let timer: NodeJS.Timeout | undefined;
  wait();

  function decide(): Limits {
    const at = now();
    for (const part of ['upload', 'download', 'rollout'] as const) {
      if ((state[part]?.until ?? Number.POSITIVE_INFINITY) <= at) state = { ...state, [part]: undefined };
    }
    const scheduled = ratesAt(config.schedule ?? [], clock(at));
    return {
      upload: limitOf('upload', config, state, scheduled),
      download: limitOf('download', config, state, scheduled),
    };
  }

  function look(): void {
    const before = limits;
    limits = decide();
    wait();
    const changed = DIRECTIONS.some((direction) => limits[direction].rate !== before[direction].rate);
    if (changed) for (const follower of followers) follower(limits);
  }

  function wait(): void {
    clearTimeout(timer);
    const at = now();
    const ends = [state.upload?.until, state.download?.until, state.rollout?.until].filter(
      (one) => one !== undefined,
    );
    // A schedule is in whole minutes of the wall clock, and so are the zones' offsets.
    if (config.schedule?.length) ends.push(at - (at % MINUTE_MS) + MINUTE_MS);
    if (ends.length === 0) return;
    const ms = Math.min(LONGEST_WAIT_MS, Math.max(1, Math.min(...ends) - at));
    timer = setTimeout(look, ms).unref();
  }

  return {
    get limits() {
      return limits;
    },
    get state() {
      return state;
    },
    set(next) {
      state = next;
      look();
    },
    rollout(rollout) {
      state = { ...state, rollout };
      look();
    },
    configure(next) {
      clock = wallClock(next.timeZone ?? 'UTC');
      config = next;
      look();
    },
    follow(listener) {
      followers.push(listener);
      listener(limits);
    },
    close: () => clearTimeout(timer),
  };
}

function limitOf(
  direction: Direction,
  config: BudgetConfig,
  state: BudgetState,
  scheduled: Partial<Record<Direction, Rate>>,
): Limit {
  const { [direction]: set, rollout } = state;
  if (set !== undefined) return { rate: set.rate, because: 'set' };
  const isUpload = direction === 'upload';
  const rate =
    (isUpload ? config.uploadRateBytesPerSecond : config.downloadRateBytesPerSecond) ?? 'unlimited';
  const rolloutRate = isUpload ? config.rolloutUploadRate : config.rolloutDownloadRate;
  const timed = scheduled[direction];
  const usual: Limit =
    timed === undefined ? { rate, because: 'configuration' } : { rate: timed, because: 'schedule' };
  if (rollout === undefined) return usual;
  const own: Limit = rolloutRate === undefined ? usual : { rate: rolloutRate, because: 'rollout' };
  const asked = rollout[direction];
  if (asked !== undefined && (own.rate === 'unlimited' || asked < own.rate)) {
    return { rate: asked, because: 'rollout' };
  }
  return own;
}
