/**
 * Origin and agents inside the test's own process: real parts, real sockets on the loopback, ports
 * and folders of their own, closed when the test ends.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { type Agent, type AgentConfig, startAgent } from '#daemon';
import { type Digest, sha256DigestOf } from '#oci';
import { startOrigin } from '#origin';
import { createLogger, createMetrics } from '#telemetry';
import { sumMetric } from './metrics-text.ts';

const loopback = { host: '127.0.0.1', port: 0 };
const level = process.env['SHOAL_TEST_LOG'] === undefined ? 'silent' : 'debug';

export interface Member {
  readonly url: string;
  readonly data: string;
  /** Sum of a metric over the label values given. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  close(): Promise<void>;
}

export interface TestAgent extends Member {
  readonly agent: Agent;
  /** Closes it, and starts another on the same folder. */
  restart(): Promise<TestAgent>;
}

export async function makeFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-test-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function originHere(
  t: Test,
  config: Partial<Parameters<typeof startOrigin>[0]> = {},
): Promise<Member> {
  const data = config.data ?? (await makeFolder(t));
  const metrics = createMetrics();
  const origin = await startOrigin(
    { listen: loopback, peerListen: loopback, bittorrentListen: loopback, ...config, data },
    { log: createLogger({ program: 'origin', level }), metrics },
  );
  const close = once(() => origin.close());
  t.teardown(close);
  const url = `http://127.0.0.1:${origin.address.port}`;
  return { url, data, metric: (name, labels = {}) => read(metrics, name, labels), close };
}

export async function agentHere(
  t: Test,
  origins: readonly string[],
  config: Partial<AgentConfig> = {},
): Promise<TestAgent> {
  const data = config.data ?? (await makeFolder(t));
  const metrics = createMetrics();
  const agent = await startAgent(
    { listen: loopback, peerListen: loopback, bittorrentListen: loopback, ...config, origins, data },
    { log: createLogger({ program: 'agent', level }), metrics },
  );
  const close = once(() => agent.close());
  t.teardown(close);
  return {
    agent,
    url: `http://127.0.0.1:${agent.address.port}`,
    data,
    metric: (name, labels = {}) => read(metrics, name, labels),
    close,
    async restart() {
      await close();
      return agentHere(t, origins, { ...config, data });
    },
  };
}

async function read(
  metrics: ReturnType<typeof createMetrics>,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<number> {
  return sumMetric(await metrics.text(), name, labels);
}

function once(close: () => Promise<void>): () => Promise<void> {
  let closed: Promise<void> | undefined;
  return () => {
    closed ??= close();
    return closed;
  };
}

/** Bytes that no other test has, so that no two tests share a swarm. */
export function someBytes(length: number): Buffer {
  return randomBytes(length);
}

/** Pushes one blob, monolithic. */
export async function pushBlob(
  url: string,
  repository: string,
  bytes: Buffer,
  headers: Readonly<Record<string, string>> = {},
): Promise<Digest> {
  const digest = sha256DigestOf(bytes);
  const begun = await fetch(`${url}/v2/${repository}/blobs/uploads/`, { method: 'POST', headers });
  const location = new URL(begun.headers.get('location') ?? '', url);
  await begun.body?.cancel();
  location.searchParams.set('digest', digest);
  const answer = await fetch(location, { method: 'PUT', headers, body: new Uint8Array(bytes) });
  const text = await answer.text();
  if (answer.status !== 201) throw new Error(`push of a blob answered ${answer.status}: ${text}`);
  return digest;
}

export interface PushedImage {
  readonly digest: Digest;
  readonly manifest: Buffer;
  readonly config: Digest;
  readonly layers: readonly Digest[];
}

export const IMAGE_TYPE = 'application/vnd.oci.image.manifest.v1+json';

/** Pushes an image of these layers under a tag. */
export async function pushImage(
  url: string,
  repository: string,
  tag: string,
  layers: readonly Buffer[],
  headers: Readonly<Record<string, string>> = {},
): Promise<PushedImage> {
  const config = Buffer.from(
    JSON.stringify({ architecture: 'amd64', os: 'linux', nonce: randomBytes(8).toString('hex') }),
  );
  const pushed: Digest[] = [];
  for (const layer of [config, ...layers]) pushed.push(await pushBlob(url, repository, layer, headers));
  const [configDigest, ...layerDigests] = pushed;
  if (!configDigest) throw new Error('no config');
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: IMAGE_TYPE,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: configDigest,
        size: config.length,
      },
      layers: layers.map((layer, index) => ({
        mediaType: 'application/vnd.oci.image.layer.v1.tar',
        digest: layerDigests[index],
        size: layer.length,
      })),
    }),
  );
  const answer = await fetch(`${url}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'content-type': IMAGE_TYPE, ...headers },
    body: new Uint8Array(manifest),
  });
  const text = await answer.text();
  if (answer.status !== 201) throw new Error(`push of a manifest answered ${answer.status}: ${text}`);
  return { digest: sha256DigestOf(manifest), manifest, config: configDigest, layers: layerDigests };
}

/** Status and sha256 of an answer's body. */
export async function pull(
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{
  readonly status: number;
  readonly bytes: Buffer;
  readonly sha256: string;
  readonly headers: Headers;
}> {
  const answer = await fetch(url, { headers });
  const bytes = Buffer.from(await answer.arrayBuffer());
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { status: answer.status, bytes, sha256, headers: answer.headers };
}

/** Asks again and again until it holds; the test's own timeout is the deadline. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}
