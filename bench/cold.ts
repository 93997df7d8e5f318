/**
 * What going through an agent costs when nobody has the blob yet: a pull by one cold agent whose only
 * peer is the origin, against a download of the same blob straight from that origin, in turns.
 *
 *     node bench/cold.ts [--size MiB] [--rounds N] [--transports libp2p,tcp] [--folder DIR] [--json] [--plot FILE.svg]
 *
 * Real origin and agent processes on the loopback. In each round an agent starts with an empty folder
 * and is asked for two blobs, one after the other: `first` is the first request of its life, `next`
 * finds its code compiled and its connections made. As any client of a registry does, ours gets the
 * image's manifest first and hashes the layer as it comes; each sha256 is checked.
 * Prints medians over the rounds: the time to the first byte of the headers and of the body, the
 * rate of the whole pull, and their ratios to the direct download.
 * Bars: first body byte at most 1.5 × the direct one, rate at least 0.8 × the direct one.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Pulled, pullBlob } from './cold/client.ts';
import { median } from './measure/median.ts';
import { takeBackMemory } from './measure/memory.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { type MeasuredProgram, startMeasured } from './measure/program.ts';
import { pushBlob, pushImage } from './measure/push.ts';
import { type ColdRow, drawCold } from './plot/figures.ts';

const values = readOptions(import.meta.filename, {
  size: { type: 'string', default: '1024' },
  rounds: { type: 'string', default: '5' },
  transports: { type: 'string', default: 'libp2p,tcp' },
  folder: { type: 'string', default: os.tmpdir() },
  json: { type: 'boolean', default: false },
  plot: { type: 'string' },
});
const mebibytes = numberOf('size', values.size, 1);
const rounds = numberOf('rounds', values.rounds, 1);
const REPOSITORY = 'bench/cold';
const FIRST_BYTE_BAR = 1.5;
const RATE_BAR = 0.8;
const SETTLE_MS = 300;

type Kind = 'first' | 'next';
const KINDS: readonly Kind[] = ['first', 'next'];

/** Waits until the agent has nothing left to write, so that the next measurement has the disk for itself. */
async function untilQuiet(agent: MeasuredProgram): Promise<void> {
  for (;;) {
    const response = await fetch(`${agent.url}/metrics`);
    const cached = /^shoal_cache_blobs (\d+)/m.exec(await response.text())?.[1];
    await delay(SETTLE_MS);
    if (Number(cached) > 0) return;
  }
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-cold-'));
const direct: Record<Kind, Pulled[]> = { first: [], next: [] };
const throughAgent: Record<Kind, Pulled[]> = { first: [], next: [] };
const libp2p = values.transports.split(',').includes('libp2p') ? ['--peer-listen', '127.0.0.1:0'] : [];
const flags = ['--swarm-transports', values.transports, ...libp2p];
const origin = await startMeasured('origin', [...flags, '--data', path.join(folder, 'origin')]);
try {
  const size = mebibytes * 1024 ** 2;
  const digests: Record<Kind, string> = {
    first: await pushBlob(origin.url, REPOSITORY, 1, size),
    next: await pushBlob(origin.url, REPOSITORY, 2, size),
  };
  for (const kind of KINDS) await pushImage(origin.url, REPOSITORY, kind, { digest: digests[kind], size });
  const pull = async (from: MeasuredProgram, kind: Kind): Promise<Pulled> => {
    const manifest = await fetch(`${from.url}/v2/${REPOSITORY}/manifests/${kind}`);
    await manifest.arrayBuffer();
    if (!manifest.ok) throw new Error(`the manifest was answered with ${manifest.status}`);
    return pullBlob(`${from.url}/v2/${REPOSITORY}/blobs/${digests[kind]}`, digests[kind]);
  };
  for (const kind of KINDS) await pull(origin, kind);
  for (let round = 0; round < rounds; round += 1) {
    const data = path.join(folder, `agent${round}`);
    const agent = await startMeasured('agent', [...flags, '--data', data, '--origin', origin.url]);
    try {
      await delay(SETTLE_MS);
      for (const kind of KINDS) {
        await takeBackMemory(folder, size * 1.5);
        direct[kind].push(await pull(origin, kind));
        await takeBackMemory(folder, size * 1.5);
        throughAgent[kind].push(await pull(agent, kind));
        await untilQuiet(agent);
      }
    } finally {
      await agent.stop();
      await rm(data, { recursive: true, force: true });
    }
  }
} finally {
  await origin.stop();
  await rm(folder, { recursive: true, force: true });
}

const middle = (pulls: readonly Pulled[], what: keyof Pulled): number =>
  median(pulls.map((pulled) => pulled[what]));
const rate = (pulls: readonly Pulled[]): number => mebibytes / (middle(pulls, 'totalMs') / 1000);
const rows: ColdRow[] = KINDS.flatMap((kind) => [
  rowOf(`${kind}: direct`, direct[kind], direct[kind]),
  rowOf(`${kind}: agent`, throughAgent[kind], direct[kind]),
]);

function rowOf(name: string, pulls: readonly Pulled[], base: readonly Pulled[]): ColdRow {
  return {
    name,
    headersMs: middle(pulls, 'headersMs'),
    firstByteMs: middle(pulls, 'firstByteMs'),
    mibPerSecond: rate(pulls),
    firstByteRatio: middle(pulls, 'firstByteMs') / middle(base, 'firstByteMs'),
    rateRatio: rate(pulls) / rate(base),
  };
}

if (values.plot !== undefined) await writeFile(values.plot, drawCold(rows));
if (values.json) {
  console.log(JSON.stringify({ mebibytes, rounds, rows, direct, throughAgent }));
} else {
  console.log(
    `${mebibytes} MiB, ${rounds} rounds, medians; bars: first byte × ${FIRST_BYTE_BAR}, rate × ${RATE_BAR}`,
  );
  console.log('                headers ms  first body byte ms  MiB/s   × direct: first byte   rate');
  for (const row of rows) {
    console.log(
      `${row.name.padEnd(15)} ${row.headersMs.toFixed(1).padStart(10)}  ${row.firstByteMs.toFixed(1).padStart(18)}  ` +
        `${row.mibPerSecond.toFixed(0).padStart(5)}   ${row.firstByteRatio.toFixed(2).padStart(20)}   ${row.rateRatio.toFixed(2)}`,
    );
  }
}
