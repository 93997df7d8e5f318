/**
 * What going through an agent costs when nobody has the blob yet: pulls by cold agents whose only
 * peers are the origin and each other, against downloads of the same blob straight from that origin, in turns.
 *
 *     node bench/cold.ts [--size MiB] [--rounds N] [--agents 1] [--rate 1gbit] [--transports libp2p,tcp]
 *                        [--folder DIR] [--json] [--plot FILE.svg]
 *
 * Real origin and agent processes, on the loopback; or, with --rate (needs root), in network namespaces whose links
 * run at this rate both ways. In each round the agents start with empty folders and are asked for two blobs, one
 * after the other: `first` is the first request of their life, `next` finds their code compiled and their connections
 * made. With more --agents than one all are asked at once, and so are as many direct downloads. As any client of a
 * registry does, ours get the image's manifest first and hash the layer as it comes; each sha256 is checked.
 * Prints medians over the rounds: the time to the first byte of the headers and of the body (of the slowest client), the
 * rate of the whole pull (until the last client is done), their ratios to the direct download, and the processor
 * time of origin and agents a GiB.
 * Bars: first body byte at most 1.5 × the direct one, rate at least 0.8 × the direct one.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pulled } from './cold/client.ts';
import { createWorld, type Node, type Program } from './cold/world.ts';
import { median } from './measure/median.ts';
import { takeBackMemory } from './measure/memory.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { type ColdRow, drawCold } from './plot/figures.ts';

const values = readOptions(import.meta.filename, {
  size: { type: 'string', default: '1024' },
  rounds: { type: 'string', default: '5' },
  agents: { type: 'string', default: '1' },
  rate: { type: 'string' },
  transports: { type: 'string', default: 'libp2p,tcp' },
  folder: { type: 'string', default: os.tmpdir() },
  json: { type: 'boolean', default: false },
  plot: { type: 'string' },
});
const mebibytes = numberOf('size', values.size, 1);
const size = mebibytes * 1024 ** 2;
const rounds = numberOf('rounds', values.rounds, 1);
const agentCount = numberOf('agents', values.agents, 1);
const REPOSITORY = 'bench/cold';
const FIRST_BYTE_BAR = 1.5;
const RATE_BAR = 0.8;
const SETTLE_MS = 300;

type Kind = 'first' | 'next';
const KINDS: readonly Kind[] = ['first', 'next'];

/** One pull, or several at once. */
interface Sample extends Pulled {
  readonly cpuSecondsPerGib: number;
}

interface Asked {
  readonly node: Node;
  readonly url: string;
}

/** All are asked at once. What counts is when the last of them got its first byte, and everything. */
async function pullAll(
  asked: readonly Asked[],
  programs: readonly Program[],
  kind: Kind,
  digest: string,
): Promise<Sample> {
  const spent = async (): Promise<number> => {
    const each = await Promise.all(programs.map((program) => program.cpuSeconds()));
    return each.reduce((sum, seconds) => sum + seconds, 0);
  };
  const before = await spent();
  const pulls = await Promise.all(asked.map(({ node, url }) => node.pull(url, REPOSITORY, kind, digest)));
  const slowest = (what: keyof Pulled): number => Math.max(...pulls.map((pulled) => pulled[what]));
  return {
    headersMs: slowest('headersMs'),
    firstByteMs: slowest('firstByteMs'),
    totalMs: slowest('totalMs'),
    cpuSecondsPerGib: ((await spent()) - before) / (size / 1024 ** 3) / asked.length,
  };
}

/** Waits until the agents have nothing left to write, so that the next measurement has the disk for itself. */
async function untilQuiet(agents: readonly Asked[]): Promise<void> {
  for (const { node, url } of agents) {
    for (;;) {
      const cached = /^shoal_cache_blobs (\d+)/m.exec(await node.text(`${url}/metrics`))?.[1];
      await delay(SETTLE_MS);
      if (Number(cached) > 0) break;
    }
  }
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-cold-'));
const direct: Record<Kind, Sample[]> = { first: [], next: [] };
const throughAgent: Record<Kind, Sample[]> = { first: [], next: [] };
const { rate: linkRate, transports } = values;
const world = await createWorld({ nodes: agentCount + 1, rate: linkRate, transports });
try {
  const [seed, ...nodes] = world.nodes;
  if (!seed) throw new Error('there is no node for the origin');
  const origin = await seed.start('origin', ['--data', path.join(folder, 'origin')]);
  const digests: Record<Kind, string> = {
    first: await seed.push(origin.url, REPOSITORY, 'first', 1, size),
    next: await seed.push(origin.url, REPOSITORY, 'next', 2, size),
  };
  const atOrigin = nodes.map((node): Asked => ({ node, url: origin.url }));
  for (const kind of KINDS) await pullAll(atOrigin, [origin], kind, digests[kind]);
  for (let round = 0; round < rounds; round += 1) {
    const data = path.join(folder, `round${round}`);
    const agents = await Promise.all(
      nodes.map((node, index) =>
        node.start('agent', ['--data', path.join(data, String(index)), '--origin', origin.url]),
      ),
    );
    const atAgents = nodes.map((node, index): Asked => ({ node, url: agents[index]?.url ?? '' }));
    await delay(SETTLE_MS);
    for (const kind of KINDS) {
      await takeBackMemory(folder, size * 1.5 * agentCount);
      direct[kind].push(await pullAll(atOrigin, [origin], kind, digests[kind]));
      await takeBackMemory(folder, size * 1.5 * agentCount);
      throughAgent[kind].push(await pullAll(atAgents, [origin, ...agents], kind, digests[kind]));
      await untilQuiet(atAgents);
    }
    await Promise.all(agents.map((agent) => agent.stop()));
    await rm(data, { recursive: true, force: true });
  }
  await origin.stop();
} finally {
  await world.close();
  await rm(folder, { recursive: true, force: true });
}

const middle = (samples: readonly Sample[], what: keyof Sample): number =>
  median(samples.map((sample) => sample[what]));
const rateOf = (samples: readonly Sample[]): number => mebibytes / (middle(samples, 'totalMs') / 1000);
const rows: ColdRow[] = KINDS.flatMap((kind) => [
  rowOf(`${kind}: direct`, direct[kind], direct[kind]),
  rowOf(`${kind}: agent`, throughAgent[kind], direct[kind]),
]);

function rowOf(name: string, samples: readonly Sample[], base: readonly Sample[]): ColdRow {
  return {
    name,
    headersMs: middle(samples, 'headersMs'),
    firstByteMs: middle(samples, 'firstByteMs'),
    mibPerSecond: rateOf(samples),
    firstByteRatio: middle(samples, 'firstByteMs') / middle(base, 'firstByteMs'),
    rateRatio: rateOf(samples) / rateOf(base),
    cpuSecondsPerGib: middle(samples, 'cpuSecondsPerGib'),
  };
}

if (values.plot !== undefined) await writeFile(values.plot, drawCold(rows));
if (values.json) {
  console.log(JSON.stringify({ mebibytes, rounds, agentCount, linkRate, rows, direct, throughAgent }));
} else {
  console.log(
    `${mebibytes} MiB, ${agentCount} agent(s), ${linkRate ?? 'loopback'}, ${rounds} rounds, medians; ` +
      `bars: first byte × ${FIRST_BYTE_BAR}, rate × ${RATE_BAR}`,
  );
  console.log(
    '                headers ms  first body byte ms  MiB/s  CPU s/GiB   × direct: first byte   rate',
  );
  for (const row of rows) {
    console.log(
      `${row.name.padEnd(15)} ${row.headersMs.toFixed(1).padStart(10)}  ${row.firstByteMs.toFixed(1).padStart(18)}  ` +
        `${row.mibPerSecond.toFixed(0).padStart(5)}  ${row.cpuSecondsPerGib.toFixed(2).padStart(9)}   ` +
        `${row.firstByteRatio.toFixed(2).padStart(20)}   ${row.rateRatio.toFixed(3)}`,
    );
  }
}
