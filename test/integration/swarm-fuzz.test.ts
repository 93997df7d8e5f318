/** A short run of the fuzz that `node test/fuzz.ts` makes long. */
import t from 'tap';
import { fuzzSwarm, leftovers } from '../support/fuzz-run.ts';

t.test('hostile sessions disturb neither a seed nor a download, and leave nothing behind', async (t) => {
  const result = await fuzzSwarm({ runs: 3_000, seed: process.pid });
  t.ok(result.mutated >= 3_000);
  t.ok(result.served > 0, 'some of them got blocks');
  t.ok(result.rejectedPieces > 0, 'and some sent bad ones');
  t.strictSame(leftovers(result), [], 'no socket, timer or memory is left');
});
