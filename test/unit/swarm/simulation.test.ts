/** The policies together, in simulated swarms: the promises of the engine, as ratios to the bound. Simulated time, so the machine's pace does not matter. */
import t from 'tap';
import { scenarios } from '../../../bench/simulate/scenarios.ts';
import { type Outcome, type Scenario, simulate } from '../../../bench/simulate/swarm.ts';

/** A smaller blob than the bench has, so that the test is quick: the fixed costs weigh more. */
const QUICK = { blobBytes: 64 * 1024 * 1024, blockBytes: 64 * 1024 };

function run(name: string, change: Partial<Scenario> = {}): Outcome & { readonly last: number } {
  const scenario = scenarios.find((one) => one.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  const outcome = simulate({ ...scenario, ...QUICK, ...change });
  return { ...outcome, last: (outcome.times.at(-1) ?? Number.POSITIVE_INFINITY) / outcome.boundMs };
}

t.test('eight at once: near the bound, each byte leaves the seed about once', async (t) => {
  const outcome = run('8');
  t.equal(outcome.unfinished, 0);
  t.ok(outcome.last <= 1.25, `last node at ${outcome.last} × the bound`);
  t.ok(outcome.originBlobs <= 1.2, `the seed sent ${outcome.originBlobs} blobs`);
  t.same(run('8').times, outcome.times, 'a run can be repeated');
});

t.test('sixteen at once', async (t) => {
  const outcome = run('16');
  t.equal(outcome.unfinished, 0);
  t.ok(outcome.last <= 1.3, `last node at ${outcome.last} × the bound`);
  t.ok(outcome.originBlobs <= 1.25, `the seed sent ${outcome.originBlobs} blobs`);
});

t.test('one at a tenth of the rate: the others at most a tenth later', async (t) => {
  const slow = run('slow-8');
  t.equal(slow.unfinished, 0);
  t.ok(slow.last <= run('8').last * 1.1, `last of the others at ${slow.last} × the bound`);
});

t.test('a quarter killed half-way', async (t) => {
  const outcome = run('churn-16');
  t.equal(outcome.unfinished, 0);
  t.ok(outcome.last <= 1.4, `last node at ${outcome.last} × the bound`);
});

t.test('arrivals five seconds apart: at most one and a half blobs from the seed', async (t) => {
  const outcome = run('arrivals-8');
  t.equal(outcome.unfinished, 0);
  t.ok(outcome.originBlobs <= 1.5, `the seed sent ${outcome.originBlobs} blobs`);
});

t.test('racks with zones: about one blob a rack over its uplink', async (t) => {
  const outcome = run('racks-400', { nodes: 80, perRack: 20, dials: 20, blockBytes: 256 * 1024 });
  t.equal(outcome.unfinished, 0);
  t.ok((outcome.rackMost ?? 9) <= 1.3, `at most ${outcome.rackMost} blobs into a rack`);
  t.ok(outcome.last <= 1.6, `last node at ${outcome.last} × the bound`);
});
