/**
 * How fast a rollout goes: counted by the tick, so that no report costs work for all nodes. Each node's share of the rate,
 * how often nodes report, and what they receive together now.
 */
import { isOrdered, type Rollout } from './machine.ts';
import { shareOf } from './shares.ts';
import { receivedOf } from './view.ts';

export interface Pace {
  /** Counts anew. Whether shares are others than before. */
  count(rollouts: Iterable<Rollout>, at: number): boolean;
  /** Bytes per second for each node that fetches; null: no limit. */
  share(rollout: Rollout): number | null;
  /** Received over the network in the last seconds. */
  bytesPerSecond(rollout: Rollout): number;
  /** How long a node waits between reports, so that all together stay below what this origin wants. */
  reportSeconds(): number;
  forget(rollout: Rollout): void;
}

const RATE_WINDOW_MS = 10_000;
/** Reports a second that this origin wants in all. */
const REPORTS_PER_SECOND = 500;
const MOST_REPORT_SECONDS = 30;

interface Sample {
  readonly at: number;
  readonly received: number;
}

export function createPace(options: {
  readonly isAway: (node: string) => boolean;
  /** The phase and wave that orders follow. */
  readonly standing: (rollout: Rollout) => Pick<Rollout, 'phase' | 'wave'>;
}): Pace {
  const shares = new Map<string, number>();
  const samples = new Map<string, Sample[]>();
  let reportSeconds = 1;

  const sample = (id: string, at: number, received: number): void => {
    const list = samples.get(id) ?? [];
    list.push({ at, received });
    while ((list[0]?.at ?? at) < at - RATE_WINDOW_MS) list.shift();
    samples.set(id, list);
  };
  /** Who is given orders now and is here to follow them; an order that nobody follows takes no share. */
  const countOne = (rollout: Rollout): { following: number; fetching: number; received: number } => {
    const sum = { following: 0, fetching: 0, received: 0 };
    const standing = options.standing(rollout);
    for (const [id, node] of rollout.nodes) {
      sum.received += receivedOf(node.bytes);
      if (node.state === 'fetching') sum.fetching += 1;
      if (isOrdered(standing, node) && !options.isAway(id)) sum.following += 1;
    }
    return sum;
  };

  return {
    count(rollouts, at) {
      let fetching = 0;
      let moved = false;
      for (const rollout of rollouts) {
        const { id, bytesPerSecond } = rollout;
        const counted = countOne(rollout);
        fetching += counted.fetching;
        sample(id, at, counted.received);
        if (bytesPerSecond === null) continue;
        const share = shareOf(bytesPerSecond, counted.following);
        moved ||= shares.get(id) !== share;
        shares.set(id, share);
      }
      reportSeconds = Math.min(MOST_REPORT_SECONDS, Math.max(1, fetching / REPORTS_PER_SECOND));
      return moved;
    },
    share: ({ id }) => shares.get(id) ?? null,
    bytesPerSecond({ id, phase }) {
      const list = samples.get(id) ?? [];
      const [first, last] = [list[0], list.at(-1)];
      if (phase !== 'running' || first === undefined || last === undefined || last.at <= first.at) return 0;
      return Math.max(0, Math.round(((last.received - first.received) * 1000) / (last.at - first.at)));
    },
    reportSeconds: () => reportSeconds,
    forget({ id }) {
      shares.delete(id);
      samples.delete(id);
    },
  };
}
