/**
 * How fast rollouts receive: the rate of now, and the way there as a chart draws it. Samples of what agents
 * reported, in memory only; after a restart the chart begins anew.
 */
import type { Rollout } from './machine.ts';

/** What all nodes of a rollout had received by a time. */
export interface Received {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Bytes from other agents. */
  readonly peer: number;
  /** Bytes from origins and upstreams. */
  readonly origin: number;
}

export interface Rates {
  sample(rollout: Rollout, sample: Received): void;
  /** Bytes a second over the last ten seconds. */
  now(rollout: Rollout): number;
  /** The oldest first; at most `MOST_POINTS`, further apart the longer it runs. */
  history(id: string): readonly Received[];
  forget(id: string): void;
}

const WINDOW_MS = 10_000;
const MOST_POINTS = 240;
const FIRST_STEP_MS = 1_000;

interface Kept {
  window: Received[];
  history: Received[];
  stepMs: number;
}

export function createRates(): Rates {
  const kept = new Map<string, Kept>();
  return {
    sample(rollout, sample) {
      const { at, peer } = sample;
      const mine = kept.get(rollout.id) ?? { window: [], history: [], stepMs: FIRST_STEP_MS };
      kept.set(rollout.id, mine);
      mine.window.push(sample);
      while ((mine.window[0]?.at ?? at) < at - WINDOW_MS) mine.window.shift();
      const last = mine.history.at(-1);
      if (last !== undefined && at - last.at < mine.stepMs) return;
      // After its end it is sampled for those who come back: until they do there is nothing to draw.
      if (rollout.phase !== 'running' && last?.peer === peer && last.origin === sample.origin) return;
      mine.history.push(sample);
      if (mine.history.length <= MOST_POINTS) return;
      mine.history = mine.history.filter((_, index) => index % 2 === 0);
      mine.stepMs *= 2;
    },
    now({ id, phase }) {
      const window = kept.get(id)?.window ?? [];
      const [first, last] = [window[0], window.at(-1)];
      if (phase !== 'running' || first === undefined || last === undefined || last.at <= first.at) return 0;
      const received = last.peer + last.origin - first.peer - first.origin;
      return Math.max(0, Math.round((received * 1000) / (last.at - first.at)));
    },
    history: (id) => kept.get(id)?.history ?? [],
    forget: (id) => void kept.delete(id),
  };
}
