/**
 * An agent that is restarted again and again on a socket that outlives it, under clients that pull all the time. The
 * clients try nothing twice: a connection that is refused or cut, a wrong status or digest is a failed pull.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { makeFolder, pushBlob, someBytes } from './in-process.ts';
import { startProgram } from './shoal.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const holder = fileURLToPath(new URL('socket-holder.py', import.meta.url));
const BLOB_BYTES = 3 << 20;
const BLOBS = 4;

export interface RestartFigures {
  readonly restarts: number;
  readonly pulls: number;
  /** Why each failed. */
  readonly failed: readonly string[];
  /** The longest wait for the head of an answer, of the pulls that met each restart, in milliseconds. */
  readonly longestWaitsMs: readonly number[];
  /** From each SIGTERM until that agent had ended, in milliseconds. */
  readonly drainsMs: readonly number[];
}

export async function pullThroughRestarts(
  t: Test,
  options: {
    readonly restarts: number;
    readonly clients: number;
    readonly progress?: (done: number) => void;
  },
): Promise<RestartFigures> {
  const origin = await startProgram(t, 'origin');
  const digests: string[] = [];
  for (let index = 0; index < BLOBS; index += 1) {
    digests.push(await pushBlob(origin.url, 'team/app', someBytes(BLOB_BYTES)));
  }
  const parent = spawn('python3', [holder], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: parent.stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the holder of the socket ended');
    return value;
  };
  const port = Number(await line());
  const swarm = ['--peer-listen', '127.0.0.1:0', '--bittorrent-listen', '127.0.0.1:0'];
  const place = ['--listen', `127.0.0.1:${port}`, '--data', path.join(await makeFolder(t), 'agent')];
  const command = [bin, 'agent', '--origin', origin.url, '--log-level', 'warn', ...place, ...swarm];
  let pid = 0;
  const start = async (): Promise<void> => {
    parent.stdin.write(`${JSON.stringify(command)}\n`);
    pid = Number((await line()).split(' ')[1]);
  };
  const stop = async (): Promise<string> => {
    process.kill(pid, 'SIGTERM');
    return line();
  };
  await start();

  const failed: string[] = [];
  let pulls = 0;
  let longestWaitMs = 0;
  let stopping = false;
  const client = async (): Promise<void> => {
    while (!stopping) {
      const digest = digests[Math.floor(Math.random() * digests.length)] ?? '';
      try {
        longestWaitMs = Math.max(longestWaitMs, await pullOnce(port, digest));
        pulls += 1;
      } catch (error) {
        failed.push((error as Error).message);
      }
    }
  };
  const clients = Array.from({ length: options.clients }, client);
  const longestWaitsMs: number[] = [];
  const drainsMs: number[] = [];
  const figures = (): RestartFigures => ({
    ...{ restarts: drainsMs.length, pulls, failed, longestWaitsMs, drainsMs },
  });
  /** Some pulls later, at whatever moment of them: the next restart must meet an agent that serves again. */
  const somePulls = async (): Promise<void> => {
    const enough = pulls + options.clients + Math.random() * 20;
    while (pulls < enough && failed.length === 0) await delay(5);
  };
  try {
    await somePulls();
    while (drainsMs.length < options.restarts && failed.length === 0) {
      longestWaitMs = 0;
      const begun = performance.now();
      const ended = await stop();
      if (ended !== 'ended 0') failed.push(`the agent ${ended}`);
      drainsMs.push(performance.now() - begun);
      await start();
      await somePulls();
      longestWaitsMs.push(longestWaitMs);
      options.progress?.(drainsMs.length);
    }
    return figures();
  } finally {
    stopping = true;
    await Promise.all(clients);
    await stop();
    parent.stdin.end();
    await once(parent, 'exit');
  }
}

/** One blob over a connection of its own; answers with the wait for the head of the answer. */
async function pullOnce(port: number, digest: string): Promise<number> {
  const begun = performance.now();
  const request = http.get({ host: '127.0.0.1', port, path: `/v2/team/app/blobs/${digest}`, agent: false });
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  const waitedMs = performance.now() - begun;
  const hash = createHash('sha256');
  for await (const chunk of answer) hash.update(chunk as Buffer);
  if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
  if (`sha256:${hash.digest('hex')}` !== digest) throw new Error('wrong bytes');
  return waitedMs;
}
