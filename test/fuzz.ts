/**
 * The long fuzz of the swarm: hostile sessions until `--runs` mutated messages and handshakes were
 * sent, then what was counted, and whether memory came back. The test of every day is a short one of the same.
 *
 *     node --expose-gc test/fuzz.ts [--runs 1000000] [--seed N]
 *
 * Ends with 1, and the smallest session that does it, when a wrong byte was stored or served, a download
 * hung, or memory or handles were left.
 */
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { fuzzSwarm } from './support/fuzz-run.ts';

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '1000000' }, seed: { type: 'string' } },
});
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
const runs = Number(values.runs);

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
const beats = new Int32Array(new SharedArrayBuffer(4));
const watchdog = new Worker(WATCHDOG, { eval: true, workerData: beats.buffer });
const beat = setInterval(() => {
  beats[0] = (beats[0] ?? 0) + 1;
}, 1_000);

console.log(`seed ${seed}`);
const started = performance.now();
const result = await fuzzSwarm({
  runs,
  seed,
  progress: ({ mutated }) =>
    console.log(`${mutated} mutated after ${Math.round((performance.now() - started) / 1000)} s`),
});
clearInterval(beat);
await watchdog.terminate();
console.log(JSON.stringify(result, undefined, 2));
