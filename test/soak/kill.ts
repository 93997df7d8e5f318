/**
 * `node test/soak/kill.ts [--rounds 200]`: kills an origin at random moments of concurrent pushes,
 * starts it again, and compares what it serves with what it acknowledged. Exits 1 at a broken promise.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { killRounds } from '../support/kill-rounds.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '200' } } });
const data = await mkdtemp(path.join(os.tmpdir(), 'shoal-kills-'));
try {
  const figures = await killRounds({
    rounds: Number(values.rounds),
    data,
    progress: (round, startMs) => {
      if (round % 10 === 0) process.stderr.write(`round ${round}, started in ${Math.round(startMs)} ms\n`);
    },
  });
  const { startsMs, ownStartsMs, acknowledged } = figures;
  const spread = (list: readonly number[]): string => {
    const at = (share: number) => Math.round(list[Math.floor((list.length - 1) * share)] ?? 0);
    return `median ${at(0.5)}, p99 ${at(0.99)}, most ${at(1)}`;
  };
  process.stdout.write(
    [
      `kills            ${figures.rounds}`,
      `acknowledged     ${acknowledged.blobs} blobs, ${acknowledged.manifests} manifests, ${acknowledged.deletions} deletions, ${acknowledged.chunks} chunks`,
      `requests cut     ${figures.cut}`,
      `answers checked  ${figures.checked}, all as promised`,
      `process start    ${spread(startsMs)} ms, until it answers`,
      `of these, own    ${spread(ownStartsMs)} ms, without loading runtime and code`,
      `leaked files     ${figures.leaked}`,
      '',
    ].join('\n'),
  );
} finally {
  await rm(data, { recursive: true, force: true });
}
