/**
 * Two zones, parted for a minute and healed, again and again.
 *
 *     sudo node test/soak/partition.ts [--seconds 60] [--rounds 1]
 *
 * Both sides must go on pulling what they have, and both trackers must know every inventory again within
 * two heartbeats (60 s) of the healing. Ends with 1 when they do not.
 */
import { numberOf, readOptions } from '../../bench/measure/options.ts';
import { cutAndHeal } from '../support/partition.ts';

const values = readOptions(import.meta.filename, {
  seconds: { type: 'string', default: '60' },
  rounds: { type: 'string', default: '1' },
});
const cutMs = numberOf('seconds', values.seconds) * 1000;
for (let round = numberOf('rounds', values.rounds, 1); round > 0; round -= 1) {
  await cutAndHeal({ cutMs, deadlineMs: 60_000, say: (line) => console.log(line) });
}
