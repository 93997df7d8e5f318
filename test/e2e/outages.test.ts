/** Real clients go on pulling while one after another of what they pull from is killed and comes back. */
import t from 'tap';
import { pullThroughOutages } from '../support/outages.ts';

t.setTimeout(300_000);

t.test(
  'tracker, origin, two of five agents and then those of the clients are killed: no failed pull',
  async (t) => {
    const { pulls, failed } = await pullThroughOutages(t, 1);
    t.same(failed, []);
    t.same(Object.values(pulls), [3, 3, 3, 3, 3], 'each of three clients pulled in each outage');
  },
);
