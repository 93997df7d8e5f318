/** A short run of the fuzz that `node test/fuzz.ts` makes long. */
import t from 'tap';
import { fuzzSwarm } from '../support/fuzz-run.ts';

t.test('hostile sessions disturb neither a seed nor a download, and leave nothing behind', async (t) => {
  const result = await fuzzSwarm({ runs: 3_000, seed: process.pid });
  t.ok(result.mutated >= 3_000);
  t.ok(result.served > 0, 'some of them got blocks');
  t.ok(result.rejectedPieces > 0, 'and some sent bad ones');
  t.ok(result.handlesAfter <= result.handlesBefore + 2, 'no socket or timer is left');
  const growth = result.memoryAfter - result.memoryBefore;
  t.ok(growth < 16 * 1024 * 1024, `${growth} bytes more`);
});
