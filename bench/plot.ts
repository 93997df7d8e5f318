/**
 * Turns a folder of results into plots: `node bench/plot.ts FOLDER [OUT]`, OUT is docs/benchmarks by
 * default. A result is what a bench prints with `--json`, kept as `<bench>[-anything].json`; all files
 * of `simulate` make one plot, each of the others its own.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  drawFanout,
  drawPairCpu,
  drawPairRates,
  drawSimulated,
  type FanoutRow,
  type PairRow,
  type Simulated,
} from './plot/figures.ts';

const [from, to = path.join(import.meta.dirname, '../docs/benchmarks')] = process.argv.slice(2);
if (from === undefined) {
  console.error('usage: node bench/plot.ts FOLDER [OUT]');
  process.exit(2);
}

/** The JSON lines of a file; a bench may print a heading between them. */
async function results(file: string): Promise<unknown[]> {
  const text = await readFile(path.join(from ?? '.', file), 'utf8');
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as unknown);
}

const plots = new Map<string, string>();
const simulated: Simulated[] = [];
for (const file of (await readdir(from)).filter((name) => name.endsWith('.json')).toSorted()) {
  const name = path.basename(file, '.json');
  const found = await results(file);
  if (name.startsWith('simulate')) simulated.push(...(found as Simulated[]));
  else if (name.startsWith('fanout')) plots.set(name, drawFanout(found as FanoutRow[]));
  else if (name.startsWith('pair')) {
    const rows = (found as { rows: PairRow[] }[]).flatMap((run) => run.rows);
    plots.set(`${name}-rate`, drawPairRates(rows));
    plots.set(`${name}-cpu`, drawPairCpu(rows));
  }
}
simulated.sort((a, b) => a.times.length - b.times.length);
if (simulated.length > 0) plots.set('simulate', drawSimulated(simulated));
await mkdir(to, { recursive: true });
for (const [name, plot] of plots) {
  await writeFile(path.join(to, `${name}.svg`), plot);
  console.log(`${name}.svg`);
}
