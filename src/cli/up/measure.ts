/** One measured pull through an agent: time, and where the agent took the bytes from (its /metrics). */
import { createHttpClient } from '#http';
import { hostPlatform, parseImageReference } from '#oci';
import { pullImage } from '../image.ts';
import { openRegistry } from '../registry.ts';
import { formatBytes, formatRate, formatSeconds, formatTable } from '../text.ts';
import { sumSamples } from './metrics-text.ts';

export interface Measurement {
  readonly phase: string;
  readonly agent: string;
  readonly seconds: number;
  readonly bytes: number;
  readonly blobs: number;
  readonly fromOrigin: number;
  readonly fromPeers: number;
  readonly fromCache: number;
}

const MAX_METRICS_BYTES = 4 * 1024 * 1024;

export async function measurePull(
  phase: string,
  agent: { readonly name: string; readonly url: string },
  reference: string,
  signal: AbortSignal,
): Promise<Measurement> {
  const before = await counters(agent.url);
  const registry = await openRegistry(agent.url);
  try {
    const image = parseImageReference(reference);
    const pulled = await pullImage({ registry, image, platform: hostPlatform(), signal });
    const after = await counters(agent.url);
    return {
      phase,
      agent: agent.name,
      seconds: pulled.seconds,
      bytes: pulled.size,
      blobs: pulled.blobs.length,
      fromOrigin: after.origin - before.origin,
      fromPeers: after.peers - before.peers,
      fromCache: after.cache - before.cache,
    };
  } finally {
    await registry.close();
  }
}

interface Counters {
  readonly origin: number;
  readonly peers: number;
  readonly cache: number;
}

async function counters(agent: string): Promise<Counters> {
  const client = await createHttpClient({});
  try {
    const response = await client.request(`${agent}/metrics`);
    const text = (await client.read(response, MAX_METRICS_BYTES)).toString('utf8');
    return {
      origin: sumSamples(text, 'shoal_fetch_bytes_total', { from: 'origin' }),
      peers: sumSamples(text, 'shoal_fetch_bytes_total', { from: 'peer' }),
      cache: sumSamples(text, 'shoal_mirror_bytes_total', { source: 'cache' }),
    };
  } finally {
    await client.close();
  }
}

export function measurementTable(measurements: readonly Measurement[]): string {
  return formatTable(
    ['phase', 'agent', 'time', 'rate', 'from origin', 'from peers', 'from cache'],
    measurements.map((row) => [
      row.phase,
      row.agent,
      formatSeconds(row.seconds),
      formatRate(row.bytes, row.seconds),
      formatBytes(row.fromOrigin),
      formatBytes(row.fromPeers),
      formatBytes(row.fromCache),
    ]),
    2,
  );
}
