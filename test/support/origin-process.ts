/**
 * An origin in a process of its own, so that a test can kill it: `node origin-process.ts DATA [CONFIG]`
 * prints its URL; CONFIG is JSON of what differs from the defaults. `startOriginProcess` runs that.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { type OriginConfig, startOrigin } from '#origin';
import { createLogger, createMetrics } from '#telemetry';

const self = fileURLToPath(import.meta.url);

export interface OriginProcess {
  readonly url: string;
  /** Milliseconds from the start of the process until it answered. */
  readonly startMs: number;
  /** Of these, the origin's own: without the start of the runtime and the loading of code. */
  readonly ownStartMs: number;
  /** kill -9, and waits for the end. */
  kill(): Promise<void>;
}

export async function startOriginProcess(t: Test, data: string): Promise<OriginProcess> {
  const origin = await spawnOrigin(data);
  t.teardown(origin.kill);
  return origin;
}

/** Whoever calls this kills it. */
export async function spawnOrigin(data: string, config: Partial<OriginConfig> = {}): Promise<OriginProcess> {
  const startedAt = performance.now();
  const child: ChildProcess = spawn(process.execPath, [self, data, JSON.stringify(config)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  if (!child.stdout) throw new Error('no standard output');
  const first = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  const [url = '', own] = String(first[0]).trim().split(' ');
  if (!url.startsWith('http://')) throw new Error(`the origin did not start: ${url}`);
  return { url, startMs: performance.now() - startedAt, ownStartMs: Number(own), kill };
}

if (process.argv[1] === self) {
  const startedAt = performance.now();
  const origin = await startOrigin(
    {
      listen: { host: '127.0.0.1', port: 0 },
      peerListen: { host: '127.0.0.1', port: 0 },
      bittorrentListen: { host: '127.0.0.1', port: 0 },
      data: process.argv[2] ?? '',
      ...(JSON.parse(process.argv[3] ?? '{}') as Partial<OriginConfig>),
    },
    { log: createLogger({ program: 'origin', level: 'fatal' }), metrics: createMetrics() },
  );
  const own = Math.round(performance.now() - startedAt);
  process.stdout.write(`http://127.0.0.1:${origin.address.port} ${own}\n`);
}
