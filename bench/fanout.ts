/**
 * A rollout: N nodes, each behind a limited link of its own, want the same blobs at the same time.
 *
 *     sudo node bench/fanout.ts [--nodes 8] [--rate 100mbit] [--size MiB] [--blobs 1] [--slow N] [--kill N]
 *                               [--stagger SECONDS] [--only shoal,libp2p,libtorrent] [--flags '…'] [--json] [--plot FILE.svg]
 *
 * Shoal runs as its users run it: an origin and N agents, pulled from through their mirrors, over plain TCP
 * (`shoal`) or over libp2p (`libp2p`). The first run after a change of the code also fills the cache of
 * compiled code that bin/shoal keeps: let it pass. libtorrent
 * runs as a seed and N downloaders that all know each other. Both in the same run. Prints when the
 * first, the median and the last node had everything, the last ÷ the bound (bytes ÷ link rate), and what
 * the seed sent ÷ the bytes. Every node's sha256 is checked. --slow nodes have a tenth of the rate; --kill
 * nodes are killed half-way; --stagger starts the nodes one after another.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { runLibtorrent } from './fanout/libtorrent.ts';
import { createNetwork } from './fanout/network.ts';
import { runShoal } from './fanout/shoal.ts';
import { warmMemory } from './fanout/warm.ts';
import { drawFanout, type FanoutRow } from './plot/figures.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '8' },
    rate: { type: 'string', default: '100mbit' },
    size: { type: 'string', default: '128' },
    blobs: { type: 'string', default: '1' },
    slow: { type: 'string', default: '0' },
    kill: { type: 'string', default: '0' },
    stagger: { type: 'string', default: '0' },
    only: { type: 'string', default: 'shoal,libtorrent' },
    flags: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    plot: { type: 'string' },
  },
});

export interface Scenario {
  readonly nodes: number;
  readonly bytesPerSecond: number;
  /** Bytes of each blob. */
  readonly sizes: readonly number[];
  /** How many of the last nodes have a tenth of the rate, or are killed half-way. */
  readonly slow: number;
  readonly kill: number;
  readonly staggerSeconds: number;
  /** More flags for the agents. */
  readonly flags: readonly string[];
}

export interface Outcome {
  /** Seconds from the start of a node's pull to its end, by node; undefined for a killed one. */
  readonly seconds: readonly (number | undefined)[];
  /** Seconds from the start of all to the end of the last. */
  readonly total: number;
  /** Payload bytes that the seed sent. */
  readonly seedBytes: number;
}

const blobs = Number(values.blobs);
const total = Number(values.size) * 1024 ** 2;
const scenario: Scenario = {
  nodes: Number(values.nodes),
  bytesPerSecond: (Number.parseFloat(values.rate) * 1e6) / 8,
  sizes: Array.from({ length: blobs }, () => Math.floor(total / blobs)),
  slow: Number(values.slow),
  kill: Number(values.kill),
  staggerSeconds: Number(values.stagger),
  flags: values.flags.split(' ').filter((flag) => flag !== ''),
};
const engines = {
  shoal: (...given: Parameters<typeof runLibtorrent>) => runShoal('tcp', ...given),
  libp2p: (...given: Parameters<typeof runLibtorrent>) => runShoal('libp2p', ...given),
  libtorrent: runLibtorrent,
} as const;
const bytes = scenario.sizes.reduce((sum, size) => sum + size, 0);
const bound = bytes / scenario.bytesPerSecond + scenario.staggerSeconds * (scenario.nodes - 1);

console.log(
  `${scenario.nodes} nodes at ${values.rate}, ${blobs} blob(s) of ${values.size} MiB in all, bound ${bound.toFixed(1)} s`,
);
console.log('engine       first   median     last   last ÷ bound   seed ÷ bytes');
const rows: FanoutRow[] = [];
for (const name of values.only.split(',') as (keyof typeof engines)[]) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-fanout-'));
  const network = await createNetwork(scenario.nodes + 1, values.rate);
  try {
    for (let index = scenario.nodes - scenario.slow + 1; index <= scenario.nodes; index += 1) {
      await network.setRate(index, `${Number.parseFloat(values.rate) / 10}mbit`);
    }
    await warmMemory(folder, bytes * (scenario.nodes + 1));
    const outcome = await engines[name](scenario, network, folder);
    const full = outcome.seconds.slice(0, scenario.nodes - scenario.slow);
    const done = full.filter((value) => value !== undefined).sort((a, b) => a - b);
    const last = scenario.staggerSeconds > 0 ? outcome.total : (done.at(-1) ?? Number.NaN);
    const row = {
      engine: name,
      first: done[0] ?? Number.NaN,
      median: done[done.length >> 1] ?? Number.NaN,
      last,
      ratio: last / bound,
      seed: outcome.seedBytes / bytes,
    };
    rows.push(row);
    const cell = (value: number): string => `${value.toFixed(1)} s`.padStart(8);
    console.log(
      values.json
        ? JSON.stringify(row)
        : `${name.padEnd(10)}${cell(row.first)} ${cell(row.median)} ${cell(row.last)}${row.ratio.toFixed(2).padStart(15)}${row.seed.toFixed(2).padStart(15)}`,
    );
  } finally {
    await network.close();
    await rm(folder, { recursive: true, force: true });
  }
}
if (values.plot !== undefined) await writeFile(values.plot, drawFanout(rows));
