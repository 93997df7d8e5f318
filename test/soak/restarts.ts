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
  const { restarts, pulls, failed } = figures;
  t.comment(`${restarts} restarts, ${pulls} pulls, ${failed.length} failed`);
  t.comment(`longest wait of a restart, ms: ${distribution(figures.longestWaitsMs)}`);
  t.comment(`end of the old agent, ms: ${distribution(figures.drainsMs)}`);
  t.strictSame(failed, []);
});

function distribution(values: readonly number[]): string {
  const ascending = values.toSorted((a, b) => a - b);
  const quantile = (share: number): string =>
    (ascending[Math.ceil(share * ascending.length) - 1] ?? Number.NaN).toFixed(0);
  return `median ${quantile(0.5)}, 90 % ${quantile(0.9)}, 99 % ${quantile(0.99)}, most ${quantile(1)}`;
}
