/** Many downloads by one agent, whose cache is too small to hold them all: each evicts another. */
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sumMetric } from '../../test/support/metrics-text.ts';
import { pullBlob, pushBlob } from '../../test/support/registry-client.ts';
import {
  activeResources,
  type MeasuredProgram,
  memoryMib,
  openFiles,
  startMeasured,
} from '../measure/program.ts';

export interface SoakSample {
  readonly downloads: number;
  readonly who: string;
  readonly rssMib: number;
  readonly heapMib: number;
  readonly files: number;
  readonly sockets: number;
  readonly blobFiles: number;
  readonly waits: string;
}

export interface SoakResult {
  readonly downloads: number;
  readonly seconds: number;
  readonly mibFromPeer: number;
  readonly mibFromOriginSwarm: number;
  readonly mibFromOriginHttp: number;
  readonly samples: readonly SoakSample[];
}

const MIB = 1024 ** 2;
const REPOSITORY = 'bench/soak';
/** Of every five blobs two have several pieces (of 256 KiB), the others come whole over HTTP. */
const SIZES = [40_000, 700_000, 3_000, 1_100_000, 200_000] as const;
const BLOBS = 400;
/** About a third of the blobs. In turn, each is gone when it is asked for again. */
const CACHE = '48MiB';
const CLIENTS = 4;
/** Connections of a finished download are gone, and seeds closed, after this long (30 s without a peer). */
const REST_MS = 33_000;

export async function soak(folder: string, downloads: number): Promise<SoakResult> {
  const running: MeasuredProgram[] = [];
  const start = async (
    program: 'origin' | 'agent',
    name: string,
    flags: readonly string[],
  ): Promise<MeasuredProgram> => {
    const started = await startMeasured(program, ['--data', path.join(folder, name), ...flags]);
    running.unshift(started);
    return started;
  };
  try {
    const origin = await start('origin', 'soak-origin', []);
    const digests: string[] = [];
    for (let seed = 0; seed < BLOBS; seed += 1) {
      digests.push(await pushBlob(origin.url, REPOSITORY, seed, SIZES[seed % SIZES.length] ?? 0));
    }
    const holder = await start('agent', 'soak-holder', ['--origin', origin.url]);
    const worker = await start('agent', 'soak-worker', ['--origin', origin.url, '--cache-size', CACHE]);
    await pullAll(holder.url, digests, 0, BLOBS);

    const samples: SoakSample[] = [];
    const programs = { worker, holder, origin };
    const sample = async (done: number): Promise<void> => {
      await delay(REST_MS);
      for (const [who, program] of Object.entries(programs)) samples.push(await look(program, who, done));
    };
    let done = 0;
    let busyMs = 0;
    for (const upTo of milestones(downloads)) {
      const startedAt = performance.now();
      await pullAll(worker.url, digests, done, upTo);
      busyMs += performance.now() - startedAt;
      done = upTo;
      await sample(done);
    }
    const metrics = await worker.metrics();
    const mib = (from: string, via: string): number =>
      sumMetric(metrics, 'shoal_fetch_bytes_total', { from, via }) / MIB;
    const fetched = sumMetric(metrics, 'shoal_blob_fetch_seconds_count', {});
    return {
      downloads: fetched,
      seconds: busyMs / 1000,
      mibFromPeer: mib('peer', 'swarm'),
      mibFromOriginSwarm: mib('origin', 'swarm'),
      mibFromOriginHttp: mib('origin', 'http'),
      samples,
    };
  } finally {
    for (const program of running) await program.stop();
  }
}

/** A tenth, a fifth, a half, all; and a warm-up before, which fills the cache once. */
function milestones(downloads: number): number[] {
  const marks = [Math.min(BLOBS, downloads), downloads / 10, downloads / 5, downloads / 2, downloads];
  return [...new Set(marks.map(Math.round))].sort((a, b) => a - b);
}

/** Downloads number `from` to `to`, some at a time, the blobs in turn. */
async function pullAll(agent: string, digests: readonly string[], from: number, to: number): Promise<void> {
  let next = from;
  const client = async (): Promise<void> => {
    while (next < to) {
      const wanted = digests[next++ % digests.length] ?? '';
      const got = await pullBlob(agent, REPOSITORY, wanted);
      if (got.digest !== wanted) throw new Error(`got ${got.digest} (${got.status}) instead of ${wanted}`);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}

async function look(program: MeasuredProgram, who: string, downloads: number): Promise<SoakSample> {
  const metrics = await program.metrics();
  const files = await openFiles(program.pid);
  return {
    downloads,
    who,
    rssMib: (await memoryMib(program.pid)).now,
    heapMib: sumMetric(metrics, 'nodejs_heap_size_used_bytes', {}) / MIB,
    files: files.total,
    sockets: files.sockets,
    blobFiles: files.blobs,
    waits: Array.from(activeResources(metrics), ([kind, count]) => `${kind} ${count}`).join(', '),
  };
}
