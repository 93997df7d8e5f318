/**
 * Small ranges of a blob that an agent does not have, as lazy-pulling snapshotters read them, against the
 * same ranges straight from its origin, in one run.
 *
 *     node bench/ranges.ts [--size MiB] [--ranges N] [--length KiB] [--seed N] [--folder DIR] [--json]
 *
 * Real processes on the loopback: origin, a cold agent, and for comparison Debian's docker-registry and
 * nginx (sendfile) with the same bytes; one keep-alive connection each, one request at a time.
 *   random      --ranges (200) ranges of --length (64) KiB at random positions. Each is asked of every server
 *               before the next one is, and who is asked first changes, so that a noisy moment hits all.
 *               The first range of the agent's life is printed by itself: the origin hashes the blob then.
 *   again       the same ranges from the agent's memory
 *   sequential  as many ranges, one after another from the middle of the blob, as FUSE readers do
 * Bytes fetched: what the origin sent to the agent, by HTTP and over the swarm, and the leaf hashes.
 * Bars: random, bytes fetched at most 4 × bytes asked, median latency at most 2 × the origin's own.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { content } from '../test/support/content.ts';
import { sumMetric } from '../test/support/metrics-text.ts';
import { median } from './measure/median.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { startMeasured } from './measure/program.ts';
import { pushBlob } from './measure/push.ts';
import { type Connection, connect } from './registry/connection.ts';
import { startDockerRegistry, startNginx } from './registry/servers.ts';
import { push } from './registry/work.ts';

const values = readOptions(import.meta.filename, {
  size: { type: 'string', default: '1024' },
  ranges: { type: 'string', default: '200' },
  length: { type: 'string', default: '64' },
  seed: { type: 'string', default: '1' },
  folder: { type: 'string', default: os.tmpdir() },
  json: { type: 'boolean', default: false },
});
const size = numberOf('size', values.size, 1) * 1024 ** 2;
const ranges = numberOf('ranges', values.ranges, 1);
const length = numberOf('length', values.length, 1) * 1024;
const seed = numberOf('seed', values.seed);
const REPOSITORY = 'bench/ranges';
const BYTES_BAR = 4;
const LATENCY_BAR = 2;
const WARM_UP = 50;

interface Target {
  readonly name: 'origin' | 'agent' | 'docker-registry' | 'nginx';
  readonly connection: Connection;
  readonly path: string;
}

/** Positions that follow from the seed, so that a run can be repeated. */
function position(index: number): number {
  const hash = createHash('sha256').update(`${seed} ${index}`).digest();
  return Number(hash.readBigUInt64BE() % BigInt(size - length + 1));
}

async function read(target: Target, start: number): Promise<number> {
  const at = performance.now();
  const answer = await target.connection.request('GET', target.path, {
    headers: { Range: `bytes=${start}-${start + length - 1}` },
  });
  const milliseconds = performance.now() - at;
  if (answer.status !== 206 || answer.bodyBytes !== length)
    throw new Error(`${target.name} answered ${answer.status} with ${answer.bodyBytes} bytes`);
  return milliseconds;
}

/** The latencies of each target in milliseconds, in the order of the positions. */
async function measure(
  targets: readonly Target[],
  positions: readonly number[],
): Promise<Record<string, number[]>> {
  const all: Record<string, number[]> = Object.fromEntries(targets.map(({ name }) => [name, []]));
  for (const [index, start] of positions.entries()) {
    const order = targets
      .map((_, at) => targets[(at + index) % targets.length])
      .filter((it) => it !== undefined);
    for (const target of order) all[target.name]?.push(await read(target, start));
  }
  return all;
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-ranges-'));
const listeners = ['--peer-listen', '127.0.0.1:0'];
await using parts = new AsyncDisposableStack();
parts.defer(() => rm(folder, { recursive: true, force: true }));
const data = path.join(folder, 'origin');
const origin = parts.adopt(await startMeasured('origin', [...listeners, '--data', data]), (it) => it.stop());
const digest = await pushBlob(origin.url, REPOSITORY, seed, size);
const file = path.join(folder, 'blob');
await writeFile(file, content(seed, size));
const registry = parts.adopt(await startDockerRegistry(folder), (it) => it.stop());
await push(registry.port, REPOSITORY, file, digest);
const nginx = parts.adopt(await startNginx(folder, folder), (it) => it.stop());
const flags = [...listeners, '--data', path.join(folder, 'agent'), '--origin', origin.url];
const agent = parts.adopt(await startMeasured('agent', flags), (it) => it.stop());

const blob = `/v2/${REPOSITORY}/blobs/${digest}`;
const targetOf = async (name: Target['name'], port: number, where = blob): Promise<Target> => ({
  ...{ name, path: where },
  connection: parts.adopt(await connect(port), (it) => it.close()),
});
const portOf = (url: string): number => Number(new URL(url).port);
const direct = await targetOf('origin', portOf(origin.url));
const lazy = await targetOf('agent', portOf(agent.url));
const peers = [
  await targetOf('docker-registry', registry.port),
  await targetOf('nginx', nginx.port, '/blob'),
];

const sentByOrigin = async (): Promise<number> =>
  sumMetric(await origin.metrics(), 'shoal_origin_blob_bytes_total', { direction: 'out' });
// Code is compiled and connections are made before it counts, but nothing of the measured ranges is read.
const warmUps = Array.from({ length: WARM_UP }, (_, index) => position(1_000_000 + index));
await measure([direct, ...peers], warmUps);
const firstMs = await read(lazy, position(2_000_000));
await measure([lazy], warmUps);
const before = await sentByOrigin();
const positions = Array.from({ length: ranges }, (_, index) => position(index));
const random = await measure([direct, lazy, ...peers], positions);
const fetched = (await sentByOrigin()) - before - ranges * length;
const again = await measure([direct, lazy], positions);
const middle = Math.floor(size / 2);
const sequential = await measure(
  [direct, lazy, ...peers],
  Array.from({ length: ranges }, (_, index) => (middle + index * length) % (size - length)),
);
const list = await fetch(`${origin.url}/v2/${REPOSITORY}/_shoal/leaves/${digest}`);
const leafBytes = (await list.arrayBuffer()).byteLength;
const cached = sumMetric(await agent.metrics(), 'shoal_cache_blobs', {});

const asked = ranges * length;
const bytesRatio = (fetched + leafBytes) / asked;
const rows = Object.entries({ random, again, sequential }).flatMap(([what, latencies]) =>
  Object.entries(latencies).map(([name, ms]) => {
    const ratios = ms.map((each, index) => each / (latencies['origin']?.[index] ?? Number.NaN));
    const sorted = ms.toSorted((a, b) => a - b);
    return {
      ...{ what, name, medianMs: median(ms), p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN },
      ...{ ofMedians: median(ms) / median(latencies['origin'] ?? []), paired: median(ratios) },
    };
  }),
);

if (values.json) {
  console.log(
    JSON.stringify({ size, ranges, length, asked, fetched, leafBytes, bytesRatio, firstMs, cached, rows }),
  );
} else {
  const mib = (bytes: number): string => (bytes / 1024 ** 2).toFixed(2);
  console.log(`${ranges} ranges of ${length / 1024} KiB of a blob of ${size / 1024 ** 2} MiB, one at a time`);
  console.log(
    `bytes: ${mib(asked)} MiB asked, ${mib(fetched)} MiB of the blob and ${mib(leafBytes)} MiB of leaf hashes ` +
      `fetched: ${bytesRatio.toFixed(2)} × (bar ${BYTES_BAR})`,
  );
  console.log(
    `first range of the agent: ${firstMs.toFixed(0)} ms; blobs that it downloaded whole: ${cached}`,
  );
  console.log('                              median ms   p99 ms   × origin: of medians   median of pairs');
  for (const { what, name, medianMs, p99Ms, ofMedians, paired } of rows) {
    const bar = what === 'random' && name === 'agent' ? `  (bar ${LATENCY_BAR})` : '';
    console.log(
      `${what.padEnd(11)} ${name.padEnd(17)} ${medianMs.toFixed(2).padStart(9)} ${p99Ms.toFixed(2).padStart(8)}` +
        `${ofMedians.toFixed(2).padStart(22)}${paired.toFixed(2).padStart(18)}${bar}`,
    );
  }
}
