/**
 * `node test/soak/restarts.ts [--restarts 200] [--clients 8]`: restarts an agent on an inherited socket under clients that
 * pull all the time and try nothing twice. Exits 1 when a pull failed.
 */
import { parseArgs } from 'node:util';
import t from 'tap';
import { pullThroughRestarts } from '../support/restarts.ts';

const { values } = parseArgs({
  options: { restarts: { type: 'string', default: '200' }, clients: { type: 'string', default: '8' } },
});

t.setTimeout(0);
t.test('restarts', async (t) => {
  const figures = await pullThroughRestarts(t, {
    restarts: Number(values.restarts),
    clients: Number(values.clients),
    progress: (done) => {
      if (done % 10 === 0) process.stderr.write(`restart ${done}\n`);
    },
  });
  const { failed, ...others } = figures;
  t.comment(JSON.stringify({ ...others, failed: failed.length }));
  t.strictSame(failed, []);
});
