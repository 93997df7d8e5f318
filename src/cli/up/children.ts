/**
 * Programs as child processes of `shoal up`. Each is in a process group of its own, so that Ctrl-C
 * reaches only us and we stop them in order; each has an IPC channel, so that it stops by itself should
 * we be killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CommandError } from '../errors.ts';
import type { ReadyMessage } from '../program.ts';

export interface Child {
  readonly name: string;
  readonly url: string;
  readonly logFile: string;
  /** Resolves when the process has ended, however it did. */
  readonly ended: Promise<string>;
  /** Asks it to drain, and kills it when it does not end in time. */
  stop(): Promise<void>;
  logTail(): Promise<string>;
}

const READY_DEADLINE_MS = 30_000;
const STOP_DEADLINE_MS = 35_000;
const TAIL_LINES = 15;

const main = fileURLToPath(new URL('../main.ts', import.meta.url));

/** Starts `shoal COMMAND FLAGS` with its log in `folder` and waits until it says that it is ready. */
export async function startChild(
  name: string,
  folder: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<Child> {
  await mkdir(folder, { recursive: true });
  const logFile = path.join(folder, `${name}.log`);
  const log = await open(logFile, 'w');
  const process_ = spawn(process.execPath, [main, ...args], {
    stdio: ['ignore', log.fd, log.fd, 'ipc'],
    env: environment(),
    detached: true,
  });
  const ended = exitOf(process_);
  const logTail = async (): Promise<string> =>
    (await readFile(logFile, 'utf8')).trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
  const stop = async (): Promise<void> => {
    process_.kill('SIGTERM');
    const deadline = setTimeout(() => process_.kill('SIGKILL'), STOP_DEADLINE_MS);
    await ended;
    clearTimeout(deadline);
  };
  try {
    const ready = await Promise.race([
      readyMessage(process_, AbortSignal.any([signal, AbortSignal.timeout(READY_DEADLINE_MS)])),
      ended,
    ]);
    if (typeof ready === 'string') throw new CommandError(`${name} did not start: ${ready}`);
    return { name, url: `http://${ready.ready.address}`, logFile, ended, stop, logTail };
  } catch (error) {
    await stop();
    if (signal.aborted || error instanceof CommandError) {
      throw new CommandError(`${(error as Error).message}; the end of its log:\n${await logTail()}`);
    }
    throw new CommandError(`${name} was not ready in time; the end of its log:\n${await logTail()}`);
  } finally {
    await log.close();
  }
}

async function readyMessage(child: ChildProcess, signal: AbortSignal): Promise<ReadyMessage> {
  const [message] = (await once(child, 'message', { signal })) as [ReadyMessage];
  return message;
}

async function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ? `ended by ${signal}` : `ended with code ${code}`));
  });
}

/** The user's own SHOAL_ settings are for other programs than these. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('SHOAL_') || name === 'SHOAL_LOG_LEVEL',
  );
  return Object.fromEntries(kept);
}

/** `127.0.0.1:PORT` when that port is free, else a port that the system chooses. */
export async function preferPort(port: number): Promise<string> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return `127.0.0.1:${port}`;
  } catch {
    return '127.0.0.1:0';
  } finally {
    server.close();
    await Promise.race([once(server, 'close'), delay(100)]);
  }
}
