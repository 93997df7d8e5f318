/** Some rounds of what `node test/soak/kill.ts --rounds 200` does. */
import t from 'tap';
import { killRounds } from '../support/kill-rounds.ts';
import { temporaryFolder } from '../support/origin.ts';

t.test('whatever the moment of kill -9, what was acknowledged is served afterwards', async (t) => {
  const figures = await killRounds({ rounds: 6, data: await temporaryFolder(t) });
  t.ok(figures.acknowledged.blobs > 0, `${figures.acknowledged.blobs} blobs were acknowledged`);
  t.ok(figures.cut > 0, `${figures.cut} requests were cut off`);
  t.ok(figures.checked > figures.acknowledged.blobs, `${figures.checked} answers were as promised`);
  t.equal(figures.leaked, 0, 'no file is left that nobody has');
});
