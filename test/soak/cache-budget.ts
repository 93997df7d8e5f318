/**
 * A cache under far more pulls than it holds: never above its size, no failed pull, and how often it hits beside what
 * least-recently-used would have with the same requests.
 *
 *     node test/soak/cache-budget.ts [--cache 2000000000] [--pulls 20000000000] [--blobs 64] [--blob 64] [--clients 3] [--folder DIR]
 *
 * Real origin and agent processes. Layers of --blob MiB are asked for by popularity (the n-th as often as 1/n), in an order that is the
 * same each time. Every tenth of a second all files of the agent's store are summed. Ends with 1 when a bar is missed.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { numberOf, readOptions } from '../../bench/measure/options.ts';
import { startMeasured } from '../../bench/measure/program.ts';
import { pushBlob } from '../../bench/measure/push.ts';
import { sumMetric } from '../support/metrics-text.ts';

const values = readOptions(import.meta.filename, {
  cache: { type: 'string', default: '2000000000' },
  pulls: { type: 'string', default: '20000000000' },
  blobs: { type: 'string', default: '64' },
  blob: { type: 'string', default: '64' },
  clients: { type: 'string', default: '3' },
  folder: { type: 'string', default: os.tmpdir() },
});
const limit = numberOf('cache', values.cache, 1);
const wantedBytes = numberOf('pulls', values.pulls, 1);
const blobCount = numberOf('blobs', values.blobs, 1);
const blobBytes = numberOf('blob', values.blob, 1) * 1024 ** 2;
const REPOSITORY = 'soak/cache';

/** Numbers in [0, 1) that are the same each time. */
function chances(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Places of blobs, the n-th with a weight of 1/n. */
function popular(count: number, requests: number): number[] {
  const weights = Array.from({ length: count }, (_, index) => 1 / (index + 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const next = chances(20_263);
  return Array.from({ length: requests }, () => {
    let left = next() * total;
    const place = weights.findIndex((weight) => {
      left -= weight;
      return left < 0;
    });
    return place < 0 ? count - 1 : place;
  });
}

/** The share of requests that a cache of so many blobs would have, by least recently used. */
function simulatedHits(requests: readonly number[], capacity: number): number {
  const held = new Set<number>();
  let hits = 0;
  for (const blob of requests) {
    if (held.delete(blob)) hits += 1;
    held.add(blob);
    for (const oldest of held) {
      if (held.size <= capacity) break;
      held.delete(oldest);
    }
  }
  return hits / requests.length;
}

async function storeBytes(data: string): Promise<number> {
  let bytes = 0;
  const files = await readdir(path.join(data, 'blobs'), { recursive: true, withFileTypes: true });
  for (const file of files) {
    if (!file.isFile()) continue;
    const stats = await stat(path.join(file.parentPath, file.name)).catch(() => undefined);
    bytes += (stats?.blocks ?? 0) * 512;
  }
  return bytes;
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-cache-budget-'));
const data = path.join(folder, 'agent');
const origin = await startMeasured('origin', ['--data', path.join(folder, 'origin')]);
const agent = await startMeasured('agent', [
  ...['--origin', origin.url, '--data', data, '--cache-size', `${limit}B`, '--cache-free', 'off'],
]);
try {
  const digests: string[] = [];
  for (let index = 0; index < blobCount; index += 1) {
    digests.push(await pushBlob(origin.url, REPOSITORY, 6_300 + index, blobBytes));
  }
  console.log(`${blobCount} blobs of ${blobBytes} bytes pushed`);
  const requests = popular(blobCount, Math.ceil(wantedBytes / blobBytes));
  let most = 0;
  let mostCounted = 0;
  let ended = false;
  const watching = (async () => {
    while (!ended) {
      most = Math.max(most, await storeBytes(data));
      mostCounted = Math.max(mostCounted, sumMetric(await agent.metrics(), 'shoal_cache_disk_bytes', {}));
      await delay(100);
    }
  })();
  let failed = 0;
  let bytes = 0;
  const queue = requests.values();
  const client = async (): Promise<void> => {
    for (const place of queue) {
      const digest = digests[place] ?? '';
      const hash = createHash('sha256');
      try {
        const answer = await fetch(`${agent.url}/v2/${REPOSITORY}/blobs/${digest}`);
        for await (const chunk of answer.body ?? []) {
          hash.update(chunk);
          bytes += chunk.length;
        }
      } catch (error) {
        console.log(`a pull broke: ${error}`);
      }
      if (`sha256:${hash.digest('hex')}` !== digest) failed += 1;
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: numberOf('clients', values.clients, 1) }, client));
  const seconds = (performance.now() - startedAt) / 1000;
  ended = true;
  await watching;
  const text = await agent.metrics();
  const hits = sumMetric(text, 'shoal_mirror_bytes_total', { source: 'cache' }) / bytes;
  const simulated = simulatedHits(requests, Math.floor(limit / blobBytes));
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  console.log(
    `pulled         ${requests.length} blobs, ${bytes} bytes in ${seconds.toFixed(0)} s; ${failed} failed`,
  );
  console.log(`limit          ${limit} bytes`);
  console.log(`most on disk   ${most} bytes (${percent(most / limit)}), counted ${mostCounted}`);
  console.log(`evicted        ${sumMetric(text, 'shoal_cache_evictions_total', {})} blobs`);
  console.log(
    `hit rate       ${percent(hits)} of bytes; LRU simulated ${percent(simulated)}; ratio ${(hits / simulated).toFixed(3)}`,
  );
  if (failed > 0 || most > limit || mostCounted > limit) process.exitCode = 1;
} finally {
  await agent.stop();
  await origin.stop();
  await rm(folder, { recursive: true, force: true });
}
