/** Rules of rollouts that hold whatever happens in whatever order, the origin's restart included. */
import fc from 'fast-check';
import t from 'tap';
import { NO_BYTES } from '#orders';
import {
  type Event,
  isFinal,
  isOrdered,
  newNode,
  type Rollout,
  step,
} from '../../../origin/rollouts/machine.ts';

const MINUTE = 60_000;

function rolloutOf(waves: readonly number[], maxUnavailable: number | null): Rollout {
  return {
    ...{ id: 'r', kind: 'rollout', repository: 'team/app', image: 'team/app:v1', digest: 'sha256:0' },
    ...{ platforms: [], selector: '*', trigger: 'test', bytesPerSecond: null, maxUnavailable },
    ...{
      createdAt: 0,
      deadlineAt: 60 * MINUTE,
      phase: 'running',
      wave: 0,
      reason: null,
      heldAt: null,
      endedAt: null,
    },
    waves: Math.max(...waves) + 1,
    nodes: new Map(waves.map((wave, at) => [`n${at}`, newNode(wave)])),
  };
}

/** As it comes back from the disk. */
function restarted({ nodes, ...header }: Rollout): Rollout {
  const copy = JSON.parse(JSON.stringify({ header, nodes: [...nodes] })) as {
    header: Omit<Rollout, 'nodes'>;
    nodes: [];
  };
  return { ...copy.header, nodes: new Map(copy.nodes) };
}

type Step =
  | {
      readonly kind: 'report';
      readonly node: number;
      readonly state: 'fetching' | 'done' | 'failed';
      readonly stale: boolean;
    }
  | { readonly kind: 'tick'; readonly away: readonly number[]; readonly minutes: number }
  | { readonly kind: 'join'; readonly node: number }
  | { readonly kind: 'pause' | 'resume' | 'cancel' | 'restart' };

const nodeNumber = fc.nat({ max: 11 });
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('report' as const),
      node: nodeNumber,
      state: fc.constantFrom('fetching' as const, 'done' as const, 'done' as const, 'failed' as const),
      stale: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('tick' as const),
      away: fc.array(nodeNumber, { maxLength: 3 }),
      minutes: fc.nat({ max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('join' as const), node: nodeNumber }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('pause' as const, 'resume' as const, 'cancel' as const, 'restart' as const),
    }),
  },
);

function eventOf(rollout: Rollout, each: Exclude<Step, { kind: 'restart' }>, at: number): Event {
  switch (each.kind) {
    case 'report': {
      const id = `n${each.node}`;
      const attempt = (rollout.nodes.get(id)?.attempt ?? 0) - (each.stale ? 1 : 0);
      const report = { id: 'r', attempt, state: each.state, totalBytes: 1, bytes: NO_BYTES, reason: null };
      return { kind: 'report', node: id, at, report };
    }
    case 'tick':
      return { kind: 'tick', at, isAway: (id) => each.away.some((node) => id === `n${node}`) };
    case 'join':
      return { kind: 'join', node: `n${each.node}` };
    default:
      return { kind: each.kind as 'pause' | 'resume' | 'cancel', at };
  }
}

const plans = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 10 }).map((waves) => {
  // Waves without a node of their own do not come out of a plan.
  const used = [...new Set(waves)].sort();
  return waves.map((wave) => used.indexOf(wave));
});

t.test(
  'whatever happens: one wave after another, paused means paused, an end is an end, a restart changes nothing',
  async () => {
    fc.assert(
      fc.property(
        plans,
        fc.option(fc.nat({ max: 4 })),
        fc.array(steps, { maxLength: 60 }),
        (waves, most, all) => {
          let rollout = rolloutOf(waves, most);
          let at = 0;
          for (const each of all) {
            const before = restarted(rollout);
            if (each.kind === 'restart') {
              rollout = restarted(rollout);
              continue;
            }
            if (each.kind === 'tick') at += each.minutes * MINUTE;
            const event = eventOf(rollout, each, at);
            const twin = restarted(rollout);
            step(rollout, event);
            step(twin, event);
            if (JSON.stringify([...twin.nodes, twin]) !== JSON.stringify([...rollout.nodes, rollout]))
              return false;
            // One wave at a time, only by a tick, and only when all before it are settled within the limit.
            if (rollout.wave !== before.wave) {
              if (rollout.wave !== before.wave + 1 || event.kind !== 'tick') return false;
              const settled = [...before.nodes].filter(([, { wave }]) => wave <= before.wave);
              const without = settled.filter(([, { state }]) => state !== 'done');
              if (without.some(([id, { state }]) => state !== 'failed' && !event.isAway(id))) return false;
              if (most !== null && without.length > most) return false;
            }
            const ordered = [...rollout.nodes.keys()].filter((id) =>
              isOrdered(rollout, rollout.nodes.get(id)),
            );
            if (ordered.some((id) => (rollout.nodes.get(id)?.wave ?? 0) > rollout.wave)) return false;
            if (['paused', 'stopped', 'failed', 'cancelled'].includes(rollout.phase) && ordered.length > 0)
              return false;
            if (isFinal(before) && rollout.phase !== before.phase) return false;
            // A verified copy is never asked for again, and reports of another attempt count for nothing.
            for (const [id, { state }] of before.nodes)
              if (state === 'done' && rollout.nodes.get(id)?.state !== 'done') return false;
            if (
              each.kind === 'report' &&
              each.stale &&
              JSON.stringify([...before.nodes]) !== JSON.stringify([...rollout.nodes])
            )
              return false;
          }
          return true;
        },
      ),
      { numRuns: 2_000 },
    );
  },
);

t.test('nodes that report and do not go away end every rollout', async () => {
  fc.assert(
    fc.property(plans, (waves) => {
      const rollout = rolloutOf(waves, 0);
      for (let round = 0; round < 20 && rollout.phase === 'running'; round += 1) {
        for (const id of [...rollout.nodes.keys()].filter((each) =>
          isOrdered(rollout, rollout.nodes.get(each)),
        )) {
          const report = {
            id: 'r',
            attempt: 0,
            state: 'done' as const,
            totalBytes: 1,
            bytes: NO_BYTES,
            reason: null,
          };
          step(rollout, { kind: 'report', node: id, at: round, report });
        }
        step(rollout, { kind: 'tick', at: round, isAway: () => false });
      }
      return rollout.phase === 'done' && [...rollout.nodes.values()].every(({ state }) => state === 'done');
    }),
  );
});

t.test('too many failures stop it; resume tries them again; the deadline waits meanwhile', async (t) => {
  const rollout = rolloutOf([0, 0, 1], 0);
  const fails = (node: string, attempt: number): Event => ({
    ...{ kind: 'report', node, at: 1 },
    report: { id: 'r', attempt, state: 'failed', totalBytes: 1, bytes: NO_BYTES, reason: 'no' },
  });
  step(rollout, fails('n0', 0));
  step(rollout, { kind: 'tick', at: 2, isAway: () => false });
  t.equal(rollout.phase, 'stopped');
  t.match(rollout.reason, /1 node failed or is away, at most 0 may be/);
  t.notOk(isOrdered(rollout, rollout.nodes.get('n1')));
  step(rollout, { kind: 'resume', at: 2 + 90 * MINUTE });
  t.equal(rollout.deadlineAt, 150 * MINUTE);
  t.ok(isOrdered(rollout, rollout.nodes.get('n0')));
  step(rollout, fails('n0', 0));
  t.equal(rollout.nodes.get('n0')?.state, 'waiting', 'of the attempt before');
});

t.test('who was away when it ended still gets it, until the deadline or a cancel', async (t) => {
  const rollout = rolloutOf([0, 0], null);
  const report = {
    id: 'r',
    attempt: 0,
    state: 'done' as const,
    totalBytes: 1,
    bytes: NO_BYTES,
    reason: null,
  };
  step(rollout, { kind: 'report', node: 'n0', at: 1, report });
  step(rollout, { kind: 'tick', at: 2, isAway: (id) => id === 'n1' });
  t.equal(rollout.phase, 'done');
  t.ok(isOrdered(rollout, rollout.nodes.get('n1')));
  t.notOk(isOrdered(rollout, rollout.nodes.get('n0')));
  step(rollout, { kind: 'cancel', at: 3 });
  t.notOk(isOrdered(rollout, rollout.nodes.get('n1')));
  t.equal(rollout.phase, 'done');
});
