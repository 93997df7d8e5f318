/**
 * Memory of a downloader that fetches one large blob from many peers at once, on the loopback.
 *
 *     node bench/memory.ts [--size MiB] [--peers 50] [--processes 2] [--only engine,agent,libtorrent] [--folder DIR]
 *                          [--json] [--plot FILE.svg]
 *
 * engine: a process with nothing but the swarm engine and a file. agent: `shoal agent`, whose client
 * follows the blob, beside an origin that has it too. libtorrent downloads from the same peers.
 * The peers are seeds of our engine, some to a process, that make their bytes from the position; every piece is
 * verified by who downloads, and the agent's blob by its sha256. Resident memory is read from /proc ten times a second.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { encodeMetainfo } from '#torrent';
import { whenInterrupted } from './measure/interrupted.ts';
import { cpuSeconds, memoryMib } from './measure/program.ts';
import { pullThroughAgent } from './memory/agent.ts';
import { createContent, createNoise, describeContent, type Given } from './memory/content.ts';
import { toMetainfo } from './pair/files.ts';
import { drawMemory, type MemoryRow } from './plot/figures.ts';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '10240' },
    peers: { type: 'string', default: '50' },
    processes: { type: 'string', default: '2' },
    only: { type: 'string', default: 'engine,agent,libtorrent' },
    folder: { type: 'string', default: os.tmpdir() },
    json: { type: 'boolean', default: false },
    plot: { type: 'string' },
  },
});
const here = import.meta.dirname;
const only = values.only.split(',');
const SAMPLE_MS = 100;
/** The bar: 250 MB are 238 MiB. */
const BAR_MIB = 250e6 / 1024 ** 2;

interface Seed {
  readonly port: number;
  readonly peerId: string;
}

/** Who downloads says this in one line. */
interface Said {
  readonly seconds: number;
  readonly peers: number;
}

function start(command: string, args: readonly string[]): ChildProcess {
  // The flag and the arena are what bin/shoal gives the programs.
  const env = { ...process.env, MALLOC_ARENA_MAX: '1' };
  return spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
}

async function firstLine<T>(child: ChildProcess): Promise<T> {
  if (child.stdout === null) throw new Error('a child without output');
  for await (const line of createInterface({ input: child.stdout })) return JSON.parse(line) as T;
  throw new Error(`${child.spawnargs.join(' ')} ended early`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Looks at a process until it is told to stop, or the process ends. */
function watch(pid: number): { stop(): { peakMib: number; medianMib: number; cpu: number } } {
  const seen: number[] = [];
  let peak = 0;
  let cpu = 0;
  const timer = setInterval(() => {
    void Promise.all([memoryMib(pid), cpuSeconds(pid)]).then(
      ([memory, seconds]) => {
        if (Number.isNaN(memory.now)) return;
        seen.push(memory.now);
        peak = Math.max(peak, memory.peak);
        cpu = seconds;
      },
      () => clearInterval(timer),
    );
  }, SAMPLE_MS);
  return {
    stop() {
      clearInterval(timer);
      const sorted = seen.toSorted((a, b) => a - b);
      return { peakMib: peak, medianMib: sorted[sorted.length >> 1] ?? Number.NaN, cpu };
    },
  };
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-memory-'));
async function cleanUp(): Promise<void> {
  for (const child of children) await stop(child);
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}
whenInterrupted(cleanUp);
const sizeMib = Number(values.size);
const children: ChildProcess[] = [];
const rows: MemoryRow[] = [];

function report(who: string, said: Said, watched: { peakMib: number; medianMib: number; cpu: number }): void {
  const row = { who, peers: said.peers, mibPerSecond: sizeMib / said.seconds, ...watched };
  rows.push(row);
  if (values.json) return;
  console.log(
    `${who.padEnd(10)}  ${String(row.peers).padStart(5)}  ${row.mibPerSecond.toFixed(0).padStart(5)}  ` +
      `${row.peakMib.toFixed(0).padStart(8)}  ${row.medianMib.toFixed(0).padStart(10)}  ` +
      `${row.cpu.toFixed(1).padStart(5)}  ${(row.peakMib / BAR_MIB).toFixed(2).padStart(14)}`,
  );
}

/** A process that downloads into a file of the blob's length and says when it is done. */
async function downloader(who: string, command: string, args: readonly string[]): Promise<void> {
  const child = start(command, args);
  children.push(child);
  const watched = watch(child.pid ?? 0);
  const said = await firstLine<Said>(child);
  report(who, said, watched.stop());
  await stop(child);
}

async function emptyFile(name: string, length: number): Promise<string> {
  await mkdir(path.dirname(name), { recursive: true });
  const file = await open(name, 'w');
  await file.truncate(length);
  await file.close();
  return name;
}

try {
  const noise = createNoise();
  const content = createContent(noise);
  const described = describeContent(content, sizeMib * 1024 ** 2);
  const metainfo = toMetainfo(described);
  const given = path.join(folder, 'given.json');
  const told: Given = { described, noise: noise.toString('base64') };
  await writeFile(given, JSON.stringify(told));

  const processes = Number(values.processes);
  const seeds: Seed[] = [];
  for (let index = 0; index < processes; index += 1) {
    const count = Math.floor((Number(values.peers) + index) / processes);
    const child = start(process.execPath, [path.join(here, 'memory/seeds.ts'), given, String(count)]);
    children.push(child);
    seeds.push(...(await firstLine<Seed[]>(child)));
  }
  const ports = seeds.map(({ port }) => port).join(',');

  if (!values.json) {
    console.log(`${sizeMib} MiB from ${seeds.length} peers; the bar is ${BAR_MIB.toFixed(0)} MiB (250 MB)`);
    console.log('who         peers  MiB/s  peak MiB  median MiB  CPU s  peak ÷ the bar');
  }
  if (only.includes('engine')) {
    const file = await emptyFile(path.join(folder, 'engine'), metainfo.length);
    const flags = ['--max-semi-space-size=4', path.join(here, 'memory/get.ts'), given, file, ports];
    await downloader('engine', process.execPath, flags);
    await rm(file);
  }
  if (only.includes('libtorrent')) {
    const torrent = path.join(folder, 'blob.torrent');
    await writeFile(torrent, encodeMetainfo(metainfo, { announce: [], webSeeds: [], peers: [] }));
    const to = path.join(folder, 'libtorrent');
    await mkdir(to);
    await downloader('libtorrent', '/usr/bin/python3', [
      path.join(here, 'memory/libtorrent-get.py'),
      to,
      torrent,
      ports,
    ]);
    await rm(to, { recursive: true });
  }
  if (only.includes('agent')) {
    let watched: ReturnType<typeof watch> | undefined;
    const pulled = await pullThroughAgent({
      folder,
      metainfo,
      content,
      seeds,
      watch: (pid) => {
        watched = watch(pid);
      },
    });
    if (watched !== undefined) report('agent', pulled, watched.stop());
    if (!values.json) console.log(`the agent had ${pulled.fromPeersMib.toFixed(0)} MiB from the peers`);
  }
  if (values.json) console.log(JSON.stringify({ sizeMib, peers: seeds.length, barMib: BAR_MIB, rows }));
  if (values.plot !== undefined) await writeFile(values.plot, drawMemory(rows, BAR_MIB));
} finally {
  await cleanUp();
}
