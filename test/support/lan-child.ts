/**
 * In a network of its own: an origin, and agents that know each other by mDNS alone. One pulls an image, the origin
 * ends, the others pull it. Prints what they got, as JSON.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startAgent } from '#daemon';
import { startOrigin } from '#origin';
import { createLogger, createMetrics } from '#telemetry';
import { pushImage, someBytes } from './in-process.ts';

const AGENTS = 4;
const DEADLINE_MS = 60_000;
const loopback = { host: '127.0.0.1', port: 0 };
const level = process.env['SHOAL_TEST_LOG'] === undefined ? 'silent' : 'debug';
const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-lan-'));
const programOf = (program: string) => ({ log: createLogger({ program, level }), metrics: createMetrics() });

interface Status {
  readonly origins: readonly { readonly open: boolean | null }[];
  readonly discovery: { readonly met: number; readonly table: number };
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + DEADLINE_MS; performance.now() < deadline; await delay(20)) {
    if (await holds()) return;
  }
  throw new Error('waited in vain');
}

const get = async (url: string): Promise<{ status: number; sha256: string }> => {
  const answer = await fetch(url);
  const bytes = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, sha256: `sha256:${createHash('sha256').update(bytes).digest('hex')}` };
};

try {
  const listeners = { listen: loopback, peerListen: loopback, bittorrentListen: loopback };
  const origin = await startOrigin({ ...listeners, data: path.join(folder, 'origin') }, programOf('origin'));
  const originUrl = `http://127.0.0.1:${origin.address.port}`;
  const agents = await Promise.all(
    Array.from({ length: AGENTS }, (_, index) =>
      startAgent(
        {
          ...listeners,
          data: path.join(folder, `agent-${index}`),
          origins: [originUrl],
          discovery: { dht: false, mdns: { port: 5353 }, bootstrap: [] },
        },
        programOf(`agent-${index}`),
      ),
    ),
  );
  const urls = agents.map(({ address }) => `http://127.0.0.1:${address.port}`);
  for (const url of urls) {
    await until(async () => {
      const status = (await (await fetch(`${url}/api/v1/status`)).json()) as Status;
      return status.origins[0]?.open === true && status.discovery.met >= AGENTS - 1;
    });
  }
  const image = await pushImage(originUrl, 'team/app', 'v1', [someBytes(2 * 1024 ** 2)]);
  const paths = [
    `manifests/${image.digest}`,
    ...[image.config, ...image.layers].map((digest) => `blobs/${digest}`),
  ];
  const [holder, ...others] = urls;
  for (const at of paths) await get(`${holder}/v2/team/app/${at}`);
  await until(async () => {
    const status = (await (await fetch(`${holder}/api/v1/status`)).json()) as { cache: { blobs: number } };
    return status.cache.blobs === paths.length - 1;
  });
  await origin.close();
  const wrong: string[] = [];
  for (const url of others) {
    for (const at of paths) {
      const { status, sha256 } = await get(`${url}/v2/team/app/${at}`);
      if (status !== 200 || !at.endsWith(sha256)) wrong.push(`${url} ${at}: ${status} ${sha256}`);
    }
  }
  console.log(JSON.stringify({ pulled: others.length * paths.length, wrong }));
  await Promise.all(agents.map((agent) => agent.close()));
} finally {
  await rm(folder, { recursive: true, force: true });
}
