/**
 * Shoal's programs as users run them: child processes of `bin/shoal`, each with its own ports and
 * folder, ended when the test ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { sumMetric } from './metrics-text.ts';
import { freePort } from './ports.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const READY_ATTEMPTS = 300;

export interface Program {
  readonly url: string;
  /** HOST:PORT of the plain BitTorrent listener. */
  readonly bittorrent: string;
  readonly data: string;
  readonly pid: number;
  /** What the program wrote to standard error so far. */
  log(): string;
  /** Sum of a metric over the label values given. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** Peak resident set so far, in bytes (VmHWM). */
  signal(name: NodeJS.Signals): Promise<void>;
  /** Starts the same program again with the same ports and data, after it was ended by `signal`. */
  restart(): Promise<void>;
}

/** Starts `shoal origin`, `agent` or `tracker` on a local address and waits until /readyz answers. */
export async function startProgram(
  t: Test,
  program: 'origin' | 'agent' | 'tracker',
  flags: readonly string[] = [],
  host = '127.0.0.1',
  surroundings: {
    readonly env?: Readonly<Record<string, string>>;
    /** A command that runs it, for example `unshare`. */
    readonly prefix?: readonly string[];
    /** Of its HTTP listener; by default a free one. */
    readonly port?: number;
  } = {},
): Promise<Program> {
  const data = await mkdtemp(path.join(os.tmpdir(), `shoal-${program}-`));
  const listen = `${host}:${surroundings.port ?? (await freePort())}`;
  const bittorrent = `${host}:${await freePort()}`;
  const peer = `${host}:${await freePort()}`;
  const listeners =
    program === 'tracker'
      ? ['--listen', listen, '--udp-listen', 'off']
      : ['--listen', listen, '--peer-listen', peer, '--bittorrent-listen', bittorrent];
  const args = [program, ...listeners, '--data', data, ...flags];
  const url = `http://${listen}`;
  let child: ChildProcess;
  let log = '';

  const start = async (): Promise<void> => {
    const [command = bin, ...before] = [...(surroundings.prefix ?? []), bin];
    child = spawn(command, [...before, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...surroundings.env },
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    for (let attempt = 0; attempt < READY_ATTEMPTS; attempt += 1) {
      if (child.exitCode !== null) break;
      const ready = await fetch(`${url}/readyz`).then(
        (response) => response.ok,
        () => false,
      );
      if (ready) return;
      await delay(100);
    }
    throw new Error(`shoal ${args.join(' ')} did not become ready:\n${log}`);
  };
  const signal = async (name: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(name);
    await once(child, 'exit');
  };

  t.teardown(async () => {
    await signal('SIGTERM');
    await rm(data, { recursive: true, force: true });
  });
  await start();
  return {
    url,
    bittorrent,
    data,
    get pid() {
      return child.pid ?? 0;
    },
    log: () => log,
    metric: async (name, labels = {}) =>
      sumMetric(await (await fetch(`${url}/metrics`)).text(), name, labels),
    signal,
    restart: start,
  };
}

/** Runs a command of `bin/shoal` to its end. */
export async function runShoal(
  args: readonly string[],
  options: {
    /** What it reads from its standard input. */
    readonly input?: string;
    /** Beside the variables of this process. */
    readonly env?: Readonly<Record<string, string | undefined>>;
  } = {},
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(bin, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
  // A command that is refused ends without reading.
  child.stdin.on('error', () => undefined).end(options.input ?? '');
  const [stdout, stderr, [code]] = await Promise.all([
    textOf(child.stdout),
    textOf(child.stderr),
    once(child, 'close') as Promise<[number]>,
  ]);
  return { code, stdout, stderr };
}
