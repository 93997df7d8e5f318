/**
 * How fast a rollout goes: counted by the tick, so that no report costs work for all nodes. Each node's share of the rate,
 * how often nodes report, and what they receive together now.
 */
import { isOrdered, type Rollout } from './machine.ts';
import { createRates, type Received } from './rates.ts';
import { shareOf } from './shares.ts';
import { receivedOf } from './view.ts';

export interface Pace {
  /** Counts anew. Whether shares are others than before. */
  count(rollouts: Iterable<Rollout>, at: number): boolean;
  /** Bytes per second for each node that fetches; null: no limit. */
  share(rollout: Rollout): number | null;
  /** Received over the network in the last seconds. */
  bytesPerSecond(rollout: Rollout): number;
  /** What its nodes had received when, since it began or this origin started. */
  history(id: string): readonly Received[];
  /** How long a node waits between reports, so that all together stay below what this origin wants. */
  reportSeconds(): number;
  forget(rollout: Rollout): void;
}

/** Reports a second that this origin wants in all. */
const REPORTS_PER_SECOND = 500;
const MOST_REPORT_SECONDS = 30;

export function createPace(options: {
  readonly isAway: (node: string) => boolean;
  /** The phase and wave that orders follow. */
  readonly standing: (rollout: Rollout) => Pick<Rollout, 'phase' | 'wave'>;
}): Pace {
  const shares = new Map<string, number>();
  const rates = createRates();
  let reportSeconds = 1;

  /** Who is given orders now and is here to follow them; an order that nobody follows takes no share. */
  const countOne = (rollout: Rollout) => {
    const sum = { following: 0, fetching: 0, received: 0, peer: 0 };
    const standing = options.standing(rollout);
    for (const [id, node] of rollout.nodes) {
      sum.received += receivedOf(node.bytes);
      sum.peer += node.bytes.peer;
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
        const { peer, received } = counted;
        rates.sample(rollout, { at, peer, origin: received - peer });
        if (bytesPerSecond === null) continue;
        const share = shareOf(bytesPerSecond, counted.following);
        moved ||= shares.get(id) !== share;
        shares.set(id, share);
      }
      reportSeconds = Math.min(MOST_REPORT_SECONDS, Math.max(1, fetching / REPORTS_PER_SECOND));
      return moved;
    },
    share: ({ id }) => shares.get(id) ?? null,
    bytesPerSecond: (rollout) => rates.now(rollout),
    history: (id) => rates.history(id),
    reportSeconds: () => reportSeconds,
    forget({ id }) {
      shares.delete(id);
      rates.forget(id);
    },
  };
}
