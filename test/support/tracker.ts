/** A tracker inside the test's own process, on listeners of its own, and ways to ask it. */
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { createHttpClient, createHttpServer, formatHostPort, type HostPort } from '#http';
import type { PeerAddress } from '#swarm';
import { createLogger, createMetrics, type Metrics } from '#telemetry';
import { type InfoHash, parseInfoHash } from '#torrent';
import { createTracker, type Tracker, type TrackerOptions } from '#tracker';
import { parseAnswer } from '../../src/discovery/bencoded-answer.ts';

export const log = createLogger({
  program: 'test',
  level: process.env['SHOAL_TEST_LOG'] === undefined ? 'silent' : 'debug',
});

export interface TestTracker {
  readonly url: string;
  readonly udp: HostPort;
  readonly tracker: Tracker;
  readonly metrics: Metrics;
  close(): Promise<void>;
}

export function randomInfoHash(): InfoHash {
  const infoHash = parseInfoHash(randomBytes(20).toString('hex'));
  if (infoHash === undefined) throw new Error('unreachable');
  return infoHash;
}

/** A tracker that knows these blobs. `listen` gives it the ports of one that was closed. */
export async function trackerHere(
  t: Test,
  blobs: ReadonlyMap<InfoHash, readonly PeerAddress[]>,
  options: Partial<TrackerOptions> & {
    readonly listen?: { readonly http: number; readonly udp: number; readonly host?: string };
  } = {},
): Promise<TestTracker> {
  const { listen, ...rest } = options;
  const host = listen?.host ?? '127.0.0.1';
  const metrics = createMetrics();
  const tracker = createTracker({
    admit: async (infoHash) => {
      const seeds = blobs.get(infoHash);
      return seeds && { seeds };
    },
    log,
    metrics,
    ...rest,
  });
  const http = await createHttpServer({
    listen: { host, port: listen?.http ?? 0 },
    log,
    metrics,
  });
  tracker.register(http.app);
  const udp = await tracker.listenUdp({ host, port: listen?.udp ?? 0 });
  const address = await http.start();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= http.close(100).then(() => tracker.close());
    return closing;
  };
  t.teardown(close);
  return { url: `http://${formatHostPort(address)}`, udp, tracker, metrics, close };
}

export async function clientHere(t: Test): Promise<Awaited<ReturnType<typeof createHttpClient>>> {
  const client = await createHttpClient({});
  t.teardown(() => client.close());
  return client;
}

export interface RawAnnounce {
  readonly infoHash: string;
  readonly peerId: string;
  readonly port: number;
  readonly left?: number;
  readonly event?: string;
  readonly compact?: 0 | 1;
  readonly more?: string;
}

export function announceUrl(base: string, given: RawAnnounce): string {
  const percent = (hex: string): string => hex.replace(/../g, '%$&');
  return (
    `${base}/announce?info_hash=${percent(given.infoHash)}&peer_id=${percent(given.peerId)}` +
    `&port=${given.port}&left=${given.left ?? 1}&compact=${given.compact ?? 0}` +
    `${given.event === undefined ? '' : `&event=${given.event}`}${given.more ?? ''}`
  );
}

/** `host:port` of the members that an announce is answered with, in their order. */
export async function announce(base: string, given: RawAnnounce): Promise<string[]> {
  const response = await fetch(announceUrl(base, given));
  const answer = parseAnswer(Buffer.from(await response.arrayBuffer()), given.peerId);
  return answer.peers.map(formatHostPort);
}

export async function putInventory(
  base: string,
  peerId: string,
  inventory: { port?: number; host?: string; zone?: string; blobs: readonly string[] },
): Promise<Response> {
  return fetch(`${base}/api/v1/agents/${peerId}`, { method: 'PUT', body: JSON.stringify(inventory) });
}

/** Waits until the check holds; the test's own time limit ends it. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 10));
}
