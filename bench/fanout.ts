/**
 * A rollout: N nodes, each behind a limited link of its own, want the same blobs at the same time.
 *
 *     sudo node bench/fanout.ts [--nodes 8] [--rate 100mbit] [--size MiB] [--blobs 1] [--slow N] [--kill N]
 *                               [--garbage N] [--zones N] [--stagger SECONDS] [--only shoal,libp2p,libtorrent] [--flags '…']
 *                               [--json] [--plot FILE.svg]
 *
 * Shoal runs as its users run it: an origin and N agents, pulled from through their mirrors, over plain TCP
 * (`shoal`) or over libp2p (`libp2p`). The first run after a change of the code also fills the cache of
 * compiled code that bin/shoal keeps: let it pass. libtorrent
 * runs as a seed and N downloaders that all know each other. Both in the same run. Prints when the
 * first, the median and the last node had everything, the last ÷ the bound (bytes ÷ link rate), and what
 * the seed sent ÷ the bytes; and how busy the machine's processors were meanwhile, with the processor seconds of
 * seed and nodes: where they are always busy it is they that are measured. Every node's sha256 is checked. --slow nodes have a tenth of the rate; --kill
 * nodes are killed half-way; --stagger starts the nodes one after another; --garbage adds members over plain
 * TCP that claim every piece and send random bytes (with `shoal` alone). With --slow or --garbage each engine
 * runs twice, first with all nodes at the full rate and honest, and the last line says how much later the others were.
 *
 * --zones parts the nodes into zones, told to the agents, with one link each to the seed and to one another; what came
 * over it is printed, ÷ the bytes of the blobs, packet headers included.
 *
 * Bars (last ÷ bound, seed ÷ bytes): 1.25 and 1.2; six blobs of 300 MB (--blobs 6 --size 286) 1.3; --kill of a
 * quarter 1.4; --stagger 5 at most 1.5 blobs from the seed; --slow 1 the others at most 1.10 × as late; --garbage 1
 * with --nodes 4 below 1.20 ×; 16 nodes at 50mbit 1.3 and 1.25; libp2p at most 1.10 × what plain TCP takes;
 * --nodes 12 --zones 3 at most 1.2 blobs into each zone.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runLibtorrent } from './fanout/libtorrent.ts';
import { createNetwork } from './fanout/network.ts';
import { runShoal, zoneOf } from './fanout/shoal.ts';
import type { CoreUse } from './measure/cores.ts';
import { whenInterrupted } from './measure/interrupted.ts';
import { takeBackMemory } from './measure/memory.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { drawFanout, type FanoutRow } from './plot/figures.ts';

const values = readOptions(import.meta.filename, {
  nodes: { type: 'string', default: '8' },
  rate: { type: 'string', default: '100mbit' },
  size: { type: 'string', default: '128' },
  blobs: { type: 'string', default: '1' },
  slow: { type: 'string', default: '0' },
  kill: { type: 'string', default: '0' },
  garbage: { type: 'string', default: '0' },
  zones: { type: 'string', default: '0' },
  stagger: { type: 'string', default: '0' },
  only: { type: 'string', default: 'shoal,libtorrent' },
  flags: { type: 'string', default: '' },
  json: { type: 'boolean', default: false },
  plot: { type: 'string' },
});

export interface Scenario {
  readonly nodes: number;
  readonly bytesPerSecond: number;
  /** Bytes of each blob. */
  readonly sizes: readonly number[];
  /** How many of the last nodes have a tenth of the rate, or are killed half-way. */
  readonly slow: number;
  readonly kill: number;
  /** Members that send random bytes, in nodes of their own behind the others. */
  readonly garbage: number;
  /** Into which the nodes are parted; 0: no zones. */
  readonly zones: number;
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
  /** Bytes that came into each zone from outside, headers of the packets included. */
  readonly intoZones?: readonly number[];
  /** Of the machine that all nodes share, from the start of all to the end of the last. */
  readonly cores: CoreUse;
  /** Processor seconds in that time of the seed, and of all other members together. */
  readonly cpu?: { readonly seed: number; readonly nodes: number };
  /** What became of the garbage, when there was any: blocks that were sent, and pieces that nodes refused. */
  readonly garbage?: { readonly blocks: number; readonly rejected: number };
}

const blobs = numberOf('blobs', values.blobs, 1);
const total = numberOf('size', values.size, 1) * 1024 ** 2;
const scenario: Scenario = {
  nodes: numberOf('nodes', values.nodes, 1),
  bytesPerSecond: (Number.parseFloat(values.rate) * 1e6) / 8,
  sizes: Array.from({ length: blobs }, () => Math.floor(total / blobs)),
  slow: numberOf('slow', values.slow),
  kill: numberOf('kill', values.kill),
  garbage: numberOf('garbage', values.garbage),
  zones: numberOf('zones', values.zones),
  staggerSeconds: numberOf('stagger', values.stagger),
  flags: values.flags.split(' ').filter((flag) => flag !== ''),
};
/** What is run, the untroubled first when there is something to compare with it. */
const troubled = scenario.slow > 0 || scenario.garbage > 0;
const scenarios = troubled ? [{ ...scenario, slow: 0, garbage: 0 }, scenario] : [scenario];
const engines = {
  shoal: (...given: Parameters<typeof runLibtorrent>) => runShoal('tcp', ...given),
  libp2p: (...given: Parameters<typeof runLibtorrent>) => runShoal('libp2p', ...given),
  libtorrent: runLibtorrent,
} as const;
type Engine = keyof typeof engines;
const only = values.only.split(',') as Engine[];
const unknown = only.find((name) => !Object.hasOwn(engines, name));
if (unknown !== undefined) {
  console.error(`--only ${unknown}: there are ${Object.keys(engines).join(', ')}`);
  process.exit(2);
}
if (scenario.garbage > 0 && only.some((name) => name !== 'shoal')) {
  console.error('--garbage is for plain TCP: add --only shoal');
  process.exit(2);
}
const bytes = scenario.sizes.reduce((sum, size) => sum + size, 0);
const bound = bytes / scenario.bytesPerSecond + scenario.staggerSeconds * (scenario.nodes - 1);

/** The bars of issue and README: last ÷ bound, and seed ÷ bytes. */
function bars({ nodes, kill, staggerSeconds }: Scenario): { ratio: number | undefined; seed: number } {
  if (staggerSeconds > 0) return { ratio: undefined, seed: 1.5 };
  if (kill > 0) return { ratio: 1.4, seed: 1.5 };
  if (blobs > 1 || nodes >= 16) return { ratio: 1.3, seed: 1.25 };
  return { ratio: 1.25, seed: 1.2 };
}

/** How busy all processors were, and the processor seconds of the seed and of the nodes. */
function usage({ cores, cpu }: Outcome): string {
  const spent = cpu === undefined ? '' : `${cpu.seed.toFixed(1)} + ${cpu.nodes.toFixed(1)}`;
  return `${(cores.busy * 100).toFixed(0).padStart(9)} %${spent.padStart(14)}`;
}

async function run(name: Engine, chosen: Scenario): Promise<FanoutRow & { last: number }> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-fanout-'));
  const removeFolder = (): Promise<void> => rm(folder, { recursive: true, force: true, maxRetries: 3 });
  const removed = whenInterrupted(removeFolder);
  const network = await createNetwork(chosen.nodes + chosen.garbage + 1, values.rate, (index) =>
    zoneOf(index, chosen.zones),
  );
  try {
    for (let index = chosen.nodes - chosen.slow + 1; index <= chosen.nodes; index += 1) {
      await network.setRate(index, `${Number.parseFloat(values.rate) / 10}mbit`);
    }
    await takeBackMemory(folder, bytes * (chosen.nodes + 1));
    const outcome = await engines[name](chosen, network, folder);
    // The same nodes are looked at whether the slow ones are slow in this run or not.
    const full = outcome.seconds.slice(0, chosen.nodes - scenario.slow);
    const done = full.filter((value) => value !== undefined).sort((a, b) => a - b);
    const last = chosen.staggerSeconds > 0 ? outcome.total : (done.at(-1) ?? Number.NaN);
    const row = {
      engine: troubled && chosen !== scenario ? `${name} alone` : name,
      first: done[0] ?? Number.NaN,
      median: done[done.length >> 1] ?? Number.NaN,
      last,
      ratio: last / bound,
      seed: outcome.seedBytes / bytes,
      busy: outcome.cores.busy,
      ...(outcome.cpu !== undefined && { cpu: outcome.cpu }),
      ...(outcome.garbage !== undefined && { garbage: outcome.garbage }),
      ...(outcome.intoZones !== undefined && { intoZones: outcome.intoZones.map((count) => count / bytes) }),
    };
    const cell = (value: number): string => `${value.toFixed(1)} s`.padStart(8);
    console.log(
      values.json
        ? JSON.stringify(row)
        : `${row.engine.padEnd(13)}${cell(row.first)} ${cell(row.median)} ${cell(row.last)}${row.ratio.toFixed(2).padStart(15)}${row.seed.toFixed(2).padStart(15)}${usage(outcome)}`,
    );
    if (outcome.garbage !== undefined && !values.json) {
      console.log(
        `  ${outcome.garbage.blocks} blocks of garbage sent, ${outcome.garbage.rejected} pieces refused`,
      );
    }
    if (row.intoZones !== undefined && !values.json) {
      const each = row.intoZones.map((blobs) => blobs.toFixed(2)).join(', ');
      console.log(`  into each zone came ${each} blobs; bar 1.20`);
    }
    return row;
  } finally {
    await network.close();
    await removeFolder();
    removed();
  }
}

if (!values.json) {
  const bar = bars(scenario);
  console.log(
    `${scenario.nodes} nodes at ${values.rate}, ${blobs} blob(s) of ${values.size} MiB in all, bound ${bound.toFixed(1)} s`,
  );
  console.log(
    'engine          first   median     last   last ÷ bound   seed ÷ bytes   CPU busy  s seed+nodes',
  );
  console.log(
    `${'bar'.padEnd(13)}${(bar.ratio?.toFixed(2) ?? '').padStart(41)}${bar.seed.toFixed(2).padStart(15)}`,
  );
}
const rows: FanoutRow[] = [];
for (const name of only) {
  const lasts: number[] = [];
  for (const chosen of scenarios) {
    const row = await run(name, chosen);
    rows.push(row);
    lasts.push(row.last);
  }
  const [alone, beside] = lasts;
  if (alone === undefined || beside === undefined) continue;
  const bar = scenario.garbage > 0 ? 1.2 : 1.1;
  const later = { engine: name, laterThanAlone: beside / alone, bar };
  console.log(
    values.json
      ? JSON.stringify(later)
      : `${name}: the others were done after ${later.laterThanAlone.toFixed(2)} × the time without; bar ${bar}`,
  );
}
if (values.plot !== undefined) await writeFile(values.plot, drawFanout(rows));
