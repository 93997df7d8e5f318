/** Shoal's programs as children of a measurement, and what Linux says of a process (/proc). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/ports.ts';
import { whenInterrupted } from './interrupted.ts';
import { untilReady } from './ready.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));

export interface MeasuredProgram {
  readonly url: string;
  readonly pid: number;
  /** Wall time from the spawn until /readyz answered. */
  readonly readyMs: number;
  /** Processor time of all threads from the spawn until then, in seconds. */
  readonly readyCpuSeconds: number;
  metrics(): Promise<string>;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>;
}

/** Starts `shoal PROGRAM` on the loopback. The flags say everything but the listeners. */
export async function startMeasured(
  program: 'origin' | 'agent',
  flags: readonly string[],
): Promise<MeasuredProgram> {
  const listen = `127.0.0.1:${await freePort()}`;
  const url = `http://${listen}`;
  const args = [program, '--listen', listen, '--bittorrent-listen', '127.0.0.1:0', '--log-level', 'warn'];
  if (!flags.includes('--peer-listen')) args.push('--peer-listen', '127.0.0.1:0');
  const startedAt = performance.now();
  const child = spawn(bin, [...args, ...flags], { stdio: ['ignore', 'ignore', 'inherit'] });
  const pid = child.pid ?? 0;
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  child.once('exit', whenInterrupted(kill));
  try {
    await untilReady(child, `${url}/readyz`);
  } catch (error) {
    await kill();
    throw error;
  }
  const readyMs = performance.now() - startedAt;
  return {
    url,
    pid,
    readyMs,
    readyCpuSeconds: await cpuSeconds(pid),
    metrics: async () => (await fetch(`${url}/metrics`)).text(),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** User and system seconds of a process (100 ticks a second). */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Resident memory now and at its peak, in MiB. */
export async function memoryMib(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return { now: kib('VmRSS') / 1024, peak: kib('VmHWM') / 1024 };
}

/** What a process has open. */
export async function openFiles(pid: number): Promise<{ total: number; sockets: number; blobs: number }> {
  const folder = `/proc/${pid}/fd`;
  const targets = await Promise.all(
    (await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => '')),
  );
  return {
    total: targets.length,
    sockets: targets.filter((target) => target.startsWith('socket:')).length,
    blobs: targets.filter((target) => target.includes('/blobs/')).length,
  };
}

/** Node's own count of what keeps an event loop alive, by kind, from the text of /metrics. */
export function activeResources(metrics: string): ReadonlyMap<string, number> {
  const found = metrics.matchAll(/^nodejs_active_resources\{type="([^"]+)"\} (\d+)/gm);
  return new Map(Array.from(found, ([, kind = '', count]) => [kind, Number(count)]));
}
