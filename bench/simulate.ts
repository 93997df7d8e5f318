/**
 * A discrete-event simulation of swarms that drives the engine's own picker, choker, seeding and
 * ranking: `node bench/simulate.ts [scenario...] [--json] [--plot=FILE.svg] [--key=value...]`. Without
 * names all scenarios run, the largest last. `--key=value` overrides a number of each scenario
 * (`--runBytes=65536`). It prints a table, or with `--json` a line for each scenario, and draws when
 * the nodes were complete.
 */
import { writeFile } from 'node:fs/promises';
import { drawSimulated, type Simulated } from './plot/figures.ts';
import { scenarios } from './simulate/scenarios.ts';
import { type Outcome, type Scenario, simulate } from './simulate/swarm.ts';

const at = (list: readonly number[], part: number): number =>
  list[Math.min(list.length - 1, Math.floor(list.length * part))] ?? Number.NaN;

const columns: readonly [string, (outcome: Outcome) => string][] = [
  ['scenario', ({ scenario }) => scenario.name],
  ['nodes', ({ scenario }) => String(scenario.nodes)],
  ['bound s', ({ boundMs }) => (boundMs / 1_000).toFixed(1)],
  ['median ×', ({ times, boundMs }) => (at(times, 0.5) / boundMs).toFixed(3)],
  ['p99 ×', ({ times, boundMs }) => (at(times, 0.99) / boundMs).toFixed(3)],
  ['last ×', ({ times, boundMs }) => (at(times, 1) / boundMs).toFixed(3)],
  ['unfinished', ({ unfinished }) => String(unfinished)],
  ['seed blobs', ({ originBlobs }) => originBlobs.toFixed(2)],
  ['rack mean', ({ rackMean }) => rackMean?.toFixed(2) ?? ''],
  ['rack most', ({ rackMost }) => rackMost?.toFixed(2) ?? ''],
  ['wasted %', ({ wasted }) => (wasted * 100).toFixed(1)],
  ['events', ({ events }) => String(events)],
  ['wall s', ({ wallMs }) => (wallMs / 1_000).toFixed(1)],
];

function line(cells: readonly string[]): string {
  return cells.map((cell, index) => (index === 0 ? cell.padEnd(18) : cell.padStart(10))).join(' ');
}

const names = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const flags = process.argv
  .slice(2)
  .filter((argument) => argument.startsWith('--'))
  .map((argument) => argument.slice(2).split('='));
const json = flags.some(([key]) => key === 'json');
const plot = flags.find(([key]) => key === 'plot')?.[1];
const overrides = Object.fromEntries(
  flags.filter(([key]) => key !== 'json' && key !== 'plot').map(([key, value]) => [key, Number(value)]),
) as Partial<Scenario>;
const chosen = scenarios.filter(({ name }) => names.length === 0 || names.includes(name));
if (chosen.length === 0) {
  console.error(`no such scenario; there are: ${scenarios.map(({ name }) => name).join(' ')}`);
  process.exit(2);
}
const runs: Simulated[] = [];
if (!json) console.log(line(columns.map(([title]) => title)));
for (const scenario of chosen.toSorted((a, b) => a.nodes - b.nodes)) {
  const { scenario: ran, ...outcome } = simulate({ ...scenario, ...overrides });
  const run = { name: ran.name, nodes: ran.nodes, ...outcome };
  runs.push(run);
  console.log(
    json ? JSON.stringify(run) : line(columns.map(([, cell]) => cell({ scenario: ran, ...outcome }))),
  );
}
if (plot !== undefined) await writeFile(plot, drawSimulated(runs));
