/** Two zones that are parted for some seconds, and meet again; `../soak/partition.ts` does it for a minute. */
import t from 'tap';
import { needs } from '../support/debian.ts';
import { cutAndHeal } from '../support/partition.ts';

t.test('both sides go on with what they have, and their trackers are right again soon after', async (t) => {
  await needs(t, ['iproute2', 'curl']);
  const healed = await cutAndHeal({ cutMs: 3_000, deadlineMs: 90_000, say: (line) => t.comment(line) });
  t.equal(healed.pullSeconds.length, 6);
});
