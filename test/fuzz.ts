/**
 * The long fuzz of the swarm: hostile sessions until `--runs` mutated messages and handshakes were
 * sent, then what was counted, and whether memory came back. The test of every day is a short one of the same.
 *
 *     node test/fuzz.ts [--runs 1000000] [--shards CORES] [--seed N]
 *
 * The runs are parted among processes; each says its seed, and `--shards 1 --seed THAT` repeats it alone.
 * Ends with 1, and the smallest session that does it, when a wrong byte was stored or served, a download
 * hung, the event loop stood still for a minute, or memory or handles were left.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { FuzzCounts } from './support/fuzz-rounds.ts';
import { type FuzzResult, fuzzSwarm, leftovers } from './support/fuzz-run.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1000000' },
    shards: { type: 'string', default: String(Math.min(8, availableParallelism())) },
    seed: { type: 'string' },
  },
});
const runs = Number(values.runs);
const shards = Number(values.shards);
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 30) : Number(values.seed);

/** Every few rounds take the next seed: those of one shard must not become those of the next. */
const SEEDS_A_SHARD = 10_000_000;
const REPORT_MS = 10_000;

/** A loop that never ends cannot be noticed by the thread that is in it. */
const WATCHDOG = `
  const { workerData } = require('node:worker_threads');
  const beats = new Int32Array(workerData);
  let last = -1;
  setInterval(() => {
    if (beats[0] === last) { process._rawDebug('the event loop stands still'); process.kill(process.pid, 'SIGABRT'); }
    last = beats[0];
  }, 60_000);
`;

interface Report {
  readonly counts?: FuzzCounts;
  readonly result?: FuzzResult;
}

/** A shard: the fuzz itself, in a process that a parent listens to. */
async function runShard(report: (report: Report) => void): Promise<void> {
  const beats = new Int32Array(new SharedArrayBuffer(4));
  const watchdog = new Worker(WATCHDOG, { eval: true, workerData: beats.buffer });
  const beat = setInterval(() => {
    beats[0] = (beats[0] ?? 0) + 1;
  }, 1_000);
  try {
    const result = await fuzzSwarm({ runs, seed, progress: (counts) => report({ counts }) });
    report({ result });
  } finally {
    clearInterval(beat);
    await watchdog.terminate();
  }
  process.disconnect();
}

async function runAll(): Promise<boolean> {
  const started = performance.now();
  const seconds = (): number => Math.round((performance.now() - started) / 1000);
  const sent: number[] = [];
  const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);
  async function shard(index: number): Promise<FuzzResult | undefined> {
    const own = seed + index * SEEDS_A_SHARD;
    const share = Math.ceil(runs / shards);
    console.log(`shard ${index + 1} of ${shards}: --runs ${share} --shards 1 --seed ${own}`);
    const child = fork(fileURLToPath(import.meta.url), ['--runs', String(share), '--seed', String(own)], {
      env: { ...process.env, SHOAL_FUZZ_SHARD: '1' },
    });
    let result: FuzzResult | undefined;
    child.on('message', (report: Report) => {
      if (report.counts !== undefined) sent[index] = report.counts.mutated;
      result = report.result ?? result;
    });
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
    if (code === 0 && result !== undefined) return result;
    console.error(`shard ${index + 1} ended with ${signal ?? code}; repeat it with --shards 1 --seed ${own}`);
    return undefined;
  }
  const progress = setInterval(
    () => console.log(`${sum(Object.values(sent))} of ${runs} mutated after ${seconds()} s`),
    REPORT_MS,
  );
  const results = await Promise.all(Array.from({ length: shards }, (_, index) => shard(index)));
  clearInterval(progress);
  const whole = results.filter((result) => result !== undefined);
  for (const result of whole) console.log(JSON.stringify(result));
  const left = whole.flatMap(leftovers);
  for (const what of left) console.error(what);
  const all = (key: keyof FuzzCounts): number => sum(whole.map((result) => result[key]));
  const good = whole.length === shards && left.length === 0;
  console.log(
    `${good ? 'good' : 'NOT good'}: ${all('mutated')} mutated messages and handshakes in ${all('sessions')} sessions, ` +
      `${all('downloads')} downloads whole, ${all('rejectedPieces')} bad pieces refused, ` +
      `${all('served')} blocks served and right, ${seconds()} s`,
  );
  return good;
}

if (process.env['SHOAL_FUZZ_SHARD'] === '1') {
  await runShard((report) => void process.send?.(report));
} else if (!(await runAll())) process.exitCode = 1;
