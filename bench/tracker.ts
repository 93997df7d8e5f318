/**
 * The tracker under a large cluster, and beside opentracker.
 *
 *     node bench/tracker.ts [--agents 1000,3000,10000] [--blobs-each 1000] [--blobs 50000] [--distinct] [--heartbeat SECONDS]
 *                           [--queries 2000] [--seconds 20] [--announce-seconds 5] [--only agents,announces]
 *                           [--opentracker FILE] [--json]
 *
 * agents: so many simulated agents, each with a connection of its own, tell a tracker in a process of its
 * own what they hold, then send their heartbeats, one in ten with a change; then so many of them a second
 * also ask for peers. Prints what the inventories took, memory, the share of a core of the heartbeats alone, and
 * the latency of the queries, and how long the event loops of tracker and agents (one process) were held up meanwhile: a query waits
 * for both. --distinct: no two agents hold the same blob, the worst case for memory.
 * announces: standard announces over HTTP and UDP as fast as they are answered, Shoal's tracker and
 * opentracker (Debian's package) in turn; announces a second, and processor time an announce.
 *
 * Bars, at 10,000 agents: memory below 2048 MiB, heartbeats below 0.5 of a core, queries' p99 below 20 ms.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../test/support/ports.ts';
import { whenInterrupted } from './measure/interrupted.ts';
import { type Lag, watchLag } from './measure/lag.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { cpuSeconds, memoryMib } from './measure/program.ts';
import { simulateAgents } from './tracker/agents.ts';
import { type Announces, announceOverHttp, announceOverUdp } from './tracker/announces.ts';

const values = readOptions(import.meta.filename, {
  agents: { type: 'string', default: '1000,3000,10000' },
  'blobs-each': { type: 'string', default: '1000' },
  blobs: { type: 'string', default: '50000' },
  distinct: { type: 'boolean', default: false },
  heartbeat: { type: 'string', default: '30' },
  queries: { type: 'string', default: '2000' },
  seconds: { type: 'string', default: '20' },
  'announce-seconds': { type: 'string', default: '5' },
  only: { type: 'string', default: 'agents,announces' },
  opentracker: { type: 'string', default: 'opentracker' },
  json: { type: 'boolean', default: false },
});
const only = values.only.split(',');
const seconds = numberOf('seconds', values.seconds, 1);
const print = (row: object, text: string): void => console.log(values.json ? JSON.stringify(row) : text);

interface Started {
  readonly pid: number;
  readonly http: number;
  readonly udp: number;
  stop(): Promise<void>;
}

interface Ours extends Started {
  lag(): Promise<Lag>;
}

function ended(child: ChildProcess): () => Promise<void> {
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  child.once('exit', whenInterrupted(stop));
  return stop;
}

async function startTracker(): Promise<Ours> {
  const server = path.join(import.meta.dirname, 'tracker', 'server.ts');
  const child = spawn(process.execPath, [server], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  const stop = ended(child);
  if (!child.stdout) throw new Error('no pipe');
  const lag = async (): Promise<Lag> => {
    child.send('lag');
    return ((await once(child, 'message')) as [Lag])[0];
  };
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { pid: child.pid ?? 0, ...(JSON.parse(line) as { http: number; udp: number }), stop, lag };
}

/** Debian's opentracker takes only blobs of a list. */
async function startOpentracker(blobs: readonly string[], folder: string): Promise<Started> {
  // It goes into the folder, gives up being root, and reads the list as somebody else.
  await chmod(folder, 0o755);
  await writeFile(path.join(folder, 'whitelist'), `${blobs.join('\n')}\n`, { mode: 0o644 });
  const port = await freePort();
  const args = ['-i', '127.0.0.1', '-p', String(port), '-P', String(port), '-w', 'whitelist', '-d', folder];
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn(values.opentracker, [...args, ...user], { stdio: ['ignore', 'ignore', 'inherit'] });
  const stop = ended(child);
  const failed = once(child, 'error').then(([error]) => Promise.reject(error as Error));
  await Promise.race([delay(500), failed]);
  if (child.exitCode !== null) throw new Error(`opentracker ended with ${child.exitCode}`);
  return { pid: child.pid ?? 0, http: port, udp: port, stop };
}

async function growth(agents: number): Promise<void> {
  const tracker = await startTracker();
  const ownLag = watchLag();
  const simulated = simulateAgents({
    ...{ port: tracker.http, agents, distinct: values.distinct },
    blobsEach: numberOf('blobs-each', values['blobs-each'], 1),
    blobs: numberOf('blobs', values.blobs, 1),
  });
  try {
    const told = await simulated.tellAll();
    const toldCpu = await cpuSeconds(tracker.pid);
    const heartbeat = numberOf('heartbeat', values.heartbeat, 1) * 1000;
    simulated.beat(heartbeat);
    await delay(2_000);
    const share = async (work: () => Promise<unknown>): Promise<number> => {
      const [from, cpu] = [performance.now(), await cpuSeconds(tracker.pid)];
      await work();
      return ((await cpuSeconds(tracker.pid)) - cpu) / ((performance.now() - from) / 1000);
    };
    const idleShare = await share(() => delay(seconds * 1000));
    const memory = await memoryMib(tracker.pid);
    let took: Float64Array = new Float64Array();
    await tracker.lag();
    ownLag();
    const busyShare = await share(async () => {
      took = await simulated.query(numberOf('queries', values.queries, 1), seconds);
    });
    const lags = { tracker: await tracker.lag(), agents: ownLag() };
    const after = await memoryMib(tracker.pid);
    const at = (part: number): number => took[Math.min(took.length - 1, Math.floor(took.length * part))] ?? 0;
    const row = {
      ...{ agents, toldSeconds: told, toldCpuSeconds: toldCpu, rssMib: memory.now, peakMib: after.peak },
      ...{
        heartbeatCores: idleShare,
        queriesCores: busyShare,
        p50Ms: at(0.5),
        p99Ms: at(0.99),
        maxMs: at(1),
      },
      ...{ lags, ...simulated.counts() },
    };
    const cell = (value: number, digits: number, width: number): string =>
      value.toFixed(digits).padStart(width);
    print(
      row,
      `${cell(agents, 0, 7)}${cell(told, 1, 10)} s${cell(toldCpu, 1, 8)} s${cell(memory.now, 0, 9)} MiB${cell(after.peak, 0, 7)} MiB` +
        `${cell(idleShare, 3, 12)}${cell(busyShare, 2, 10)}${cell(row.p50Ms, 1, 8)} ms${cell(row.p99Ms, 1, 7)} ms${cell(row.maxMs, 1, 7)} ms` +
        `${String(row.beats).padStart(8)}${String(row.failures).padStart(8)}\n` +
        Object.entries(lags)
          .map(
            ([who, { p99Ms, maxMs, gcMs, longestGcMs }]) =>
              `        loop of the ${who.padEnd(8)} held up: p99${cell(p99Ms, 1, 7)} ms, worst${cell(maxMs, 0, 5)} ms; ` +
              `garbage collection${cell(gcMs, 0, 6)} ms, longest${cell(longestGcMs, 0, 5)} ms`,
          )
          .join('\n'),
    );
  } finally {
    simulated.close();
    await tracker.stop();
  }
}

async function announces(folder: string): Promise<void> {
  const blobs = Array.from({ length: 200 }, () => randomBytes(20).toString('hex'));
  const span = numberOf('announce-seconds', values['announce-seconds'], 1);
  const ways: readonly (readonly ['http' | 'udp', Announces])[] = [
    ['http', announceOverHttp],
    ['udp', announceOverUdp],
  ];
  for (const [protocol, announce] of ways) {
    const rates: number[] = [];
    for (const [name, start] of [
      ['shoal', startTracker],
      ['opentracker', () => startOpentracker(blobs, folder)],
    ] as const) {
      const tracker = await start();
      try {
        await announce(tracker[protocol], blobs, 1);
        const cpu = await cpuSeconds(tracker.pid);
        const answered = await announce(tracker[protocol], blobs, span);
        const microseconds = (((await cpuSeconds(tracker.pid)) - cpu) / answered) * 1e6;
        const rate = answered / span;
        rates.push(rate);
        print(
          { tracker: name, protocol, announcesPerSecond: rate, cpuMicroseconds: microseconds },
          `${name.padEnd(12)}${protocol.padEnd(5)}${rate.toFixed(0).padStart(12)} /s${microseconds.toFixed(1).padStart(10)} µs of processor time each`,
        );
      } finally {
        await tracker.stop();
      }
    }
    const ratio = (rates[0] ?? 0) / (rates[1] ?? 1);
    print({ protocol, ratio }, `shoal ÷ opentracker, ${protocol}: ${ratio.toFixed(2)}`);
  }
}

if (only.includes('agents')) {
  if (!values.json) {
    console.log(
      ' agents  inventories     cpu      memory       peak  heartbeats   queries     p50       p99       max   beats  failed',
    );
    console.log(
      `${'bars'.padStart(7)}${'2048 MiB'.padStart(37)}${'0.5'.padStart(23)}${'20 ms'.padStart(30)}`,
    );
  }
  for (const agents of values.agents.split(',')) await growth(numberOf('agents', agents, 1));
}
if (only.includes('announces')) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-tracker-bench-'));
  const removed = whenInterrupted(() => rm(folder, { recursive: true, force: true }));
  await announces(folder).finally(() => rm(folder, { recursive: true, force: true }));
  removed();
}
