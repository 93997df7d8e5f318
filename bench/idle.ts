/**
 * What an idle cache costs, and whether work leaves something behind. Real origin and agents.
 *
 *     node bench/idle.ts [--blobs 100000] [--idle SECONDS] [--rounds N] [--soak 10000] [--only start,soak]
 *                        [--folder DIR] [--json] [--plot FILE.svg]
 *
 * start: an agent with so many cached blobs beside one with none, in turn: the time from the spawn to
 * /readyz, memory, open files, what its event loop waits for, and the processor time of idle seconds.
 * soak: so many downloads by one agent whose cache holds a part of them, small and of several pieces,
 * from another agent and the origin; every sha256 is checked, and memory, files and waits are printed
 * on the way.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fillCache } from './idle/fill.ts';
import { type SoakSample, soak } from './idle/soak.ts';
import { whenInterrupted } from './measure/interrupted.ts';
import { readOptions } from './measure/options.ts';
import { activeResources, cpuSeconds, memoryMib, openFiles, startMeasured } from './measure/program.ts';
import { drawSoak, drawStarts } from './plot/figures.ts';

const values = readOptions(import.meta.filename, {
  blobs: { type: 'string', default: '100000' },
  idle: { type: 'string', default: '30' },
  rounds: { type: 'string', default: '3' },
  soak: { type: 'string', default: '10000' },
  only: { type: 'string', default: 'start,soak' },
  folder: { type: 'string', default: os.tmpdir() },
  json: { type: 'boolean', default: false },
  plot: { type: 'string' },
});

interface StartSample {
  readonly blobs: number;
  readonly readyMs: number;
  readonly readyCpuSeconds: number;
  readonly listedCpuSeconds: number;
  readonly idleCpuSeconds: number;
  readonly rssMib: number;
  readonly peakMib: number;
  readonly files: number;
  readonly sockets: number;
  readonly blobFiles: number;
  readonly waits: Readonly<Record<string, number>>;
}

/** The inventory has been told, and the young heap collected, after this long. */
const SETTLE_MS = 4_000;

async function start(data: string, blobs: number, origin: string, idleSeconds: number): Promise<StartSample> {
  const agent = await startMeasured('agent', ['--data', data, '--origin', origin]);
  try {
    await delay(SETTLE_MS);
    const listedCpuSeconds = await cpuSeconds(agent.pid);
    await delay(idleSeconds * 1000);
    const idleCpuSeconds = (await cpuSeconds(agent.pid)) - listedCpuSeconds;
    const memory = await memoryMib(agent.pid);
    const files = await openFiles(agent.pid);
    const metrics = await agent.metrics();
    const cached = Number(/^shoal_cache_blobs (\d+)/m.exec(metrics)?.[1]);
    if (cached !== blobs) throw new Error(`the cache has ${cached} blobs instead of ${blobs}`);
    return {
      blobs,
      readyMs: agent.readyMs,
      readyCpuSeconds: agent.readyCpuSeconds,
      listedCpuSeconds,
      idleCpuSeconds,
      rssMib: memory.now,
      peakMib: memory.peak,
      files: files.total,
      sockets: files.sockets,
      blobFiles: files.blobs,
      waits: Object.fromEntries(activeResources(metrics)),
    };
  } finally {
    await agent.stop();
  }
}

async function measureStarts(folder: string): Promise<StartSample[]> {
  const blobs = Number(values.blobs);
  const full = path.join(folder, 'full');
  const empty = path.join(folder, 'empty');
  await fillCache(full, blobs);
  const origin = await startMeasured('origin', ['--data', path.join(folder, 'origin')]);
  const samples: StartSample[] = [];
  try {
    for (let round = 0; round < Number(values.rounds); round += 1) {
      // Only the first round idles for long: the others are about the start.
      const idle = round === 0 ? Number(values.idle) : 0;
      samples.push(await start(empty, 0, origin.url, idle), await start(full, blobs, origin.url, idle));
    }
  } finally {
    await origin.stop();
  }
  return samples;
}

function printStarts(samples: readonly StartSample[]): void {
  console.log(
    'cached blobs  ready ms  CPU s to ready  to listed  idle   RSS MiB (peak)  files  sockets  blob files  waits',
  );
  for (const one of samples) {
    const waits = Object.entries(one.waits).map(([kind, count]) => `${kind} ${count}`);
    console.log(
      `${String(one.blobs).padStart(12)}  ${one.readyMs.toFixed(0).padStart(8)}  ${one.readyCpuSeconds.toFixed(2).padStart(14)}  ` +
        `${one.listedCpuSeconds.toFixed(2).padStart(9)}  ${one.idleCpuSeconds.toFixed(2)}  ` +
        `${one.rssMib.toFixed(0).padStart(7)} (${one.peakMib.toFixed(0)})   ${String(one.files).padStart(8)}  ` +
        `${String(one.sockets).padStart(7)}  ${String(one.blobFiles).padStart(10)}  ${waits.join(', ')}`,
    );
  }
}

function printSoak(samples: readonly SoakSample[]): void {
  console.log('downloads  who      RSS MiB  heap MiB  files  sockets  blob files  waits');
  for (const one of samples) {
    console.log(
      `${String(one.downloads).padStart(9)}  ${one.who.padEnd(7)}  ${one.rssMib.toFixed(0).padStart(7)}  ` +
        `${one.heapMib.toFixed(0).padStart(8)}  ${String(one.files).padStart(5)}  ${String(one.sockets).padStart(7)}  ` +
        `${String(one.blobFiles).padStart(10)}  ${one.waits}`,
    );
  }
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-idle-'));
const removeFolder = (): Promise<void> => rm(folder, { recursive: true, force: true, maxRetries: 3 });
whenInterrupted(removeFolder);
const only = values.only.split(',');
try {
  const starts = only.includes('start') ? await measureStarts(folder) : [];
  if (!values.json && starts.length > 0) printStarts(starts);
  const soaked = only.includes('soak') ? await soak(folder, Number(values.soak)) : undefined;
  if (!values.json && soaked) {
    printSoak(soaked.samples);
    console.log(
      `${soaked.downloads} downloads in ${soaked.seconds.toFixed(0)} s; MiB from the agent over the swarm ${soaked.mibFromPeer.toFixed(0)}, ` +
        `from the origin over the swarm ${soaked.mibFromOriginSwarm.toFixed(0)} and over HTTP ${soaked.mibFromOriginHttp.toFixed(0)}`,
    );
  }
  if (values.json) console.log(JSON.stringify({ starts, soaked }));
  // Of both, the soak is drawn: starts alone when only they ran.
  if (values.plot !== undefined) {
    await writeFile(values.plot, soaked ? drawSoak(soaked.samples) : drawStarts(starts));
  }
} finally {
  await removeFolder();
}
