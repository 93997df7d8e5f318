/**
 * `node test/soak/outages.ts [--rounds 20]`: containerd, podman and skopeo pull while tracker, origin and
 * agents are killed in turn and come back. Exits 1 at a failed pull, and names it.
 */
import { parseArgs } from 'node:util';
import t from 'tap';
import { pullThroughOutages } from '../support/outages.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '20' } } });
t.setTimeout(0);
t.test(`${values.rounds} rounds`, async (t) => {
  const { pulls, failed, repeated } = await pullThroughOutages(t, Number(values.rounds));
  for (const [what, count] of Object.entries(pulls)) t.comment(`${count} pulls while down: ${what}`);
  t.comment(`${repeated} pulls were begun again, because their own agent was killed under them`);
  t.same(failed, [], 'no failed pull');
});
