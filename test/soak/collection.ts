/**
 * `node test/soak/collection.ts [--seconds 120] [--clients 8] [--lease-ms 2000]`: garbage collection
 * every 100 ms under clients that push, push again, mount, delete and pull. Exits 1 when one of them
 * saw a failure.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { collectionSoak } from '../support/collection-soak.ts';
import { sumMetric } from '../support/metrics-text.ts';
import { spawnOrigin } from '../support/origin-process.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '120' },
    clients: { type: 'string', default: '8' },
    'lease-ms': { type: 'string', default: '2000' },
  },
});
const data = await mkdtemp(path.join(os.tmpdir(), 'shoal-soak-'));
const leaseMs = Number(values['lease-ms']);
const origin = await spawnOrigin(data, { collection: { intervalMs: 100, leaseMs } });
try {
  const { url } = origin;
  const figures = await collectionSoak({
    ...{ url, leaseMs, seconds: Number(values.seconds), clients: Number(values.clients) },
  });
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const of = (name: string, labels = {}) => sumMetric(metrics, `shoal_origin_gc_${name}`, labels);
  const { requests, images, blobs, deletions, pulls, late, failures } = figures;
  process.stdout.write(
    [
      `passes           ${of('passes_total')}, ${of('failures_total')} failures of their own`,
      `collected        ${of('removed_total', { kind: 'link' })} places in repositories, ${of('removed_total', { kind: 'blob' })} blobs, ${Math.round(of('freed_bytes_total') / 2 ** 20)} MiB`,
      `images           ${images} pushed, ${pulls} pulled, ${deletions} deletions, ${requests} requests`,
      `blobs            ${blobs.there} there, ${blobs.mounted} mounted, ${blobs.pushed} pushed`,
      `late pushes      ${late} (slower than the lease of ${leaseMs} ms)`,
      `failures seen    ${failures.length}`,
      ...failures.slice(0, 20),
      '',
    ].join('\n'),
  );
  process.exitCode = failures.length === 0 ? 0 : 1;
} finally {
  await origin.kill();
  await rm(data, { recursive: true, force: true });
}
