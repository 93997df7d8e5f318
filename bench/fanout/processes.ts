/** Child processes inside the namespaces of a bench, ended with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { whenInterrupted } from '../measure/interrupted.ts';

export interface Processes {
  start(namespace: string, command: string, args: readonly string[]): ChildProcess;
  /** Runs to the end and answers with the standard output. Rejects when it fails. */
  run(namespace: string, command: string, args: readonly string[]): Promise<string>;
  /** Runs to the end and answers with the hex sha256 of the standard output. Rejects when it fails, or was ended. */
  sha256(namespace: string, command: string, args: readonly string[]): Promise<string>;
  /** Waits until `url` answers with success, as a program does that has just been started: a hundred seconds at most. */
  untilReady(namespace: string, url: string): Promise<void>;
  close(): Promise<void>;
}

const READY = '-sS --fail --retry 100 --retry-delay 1 --retry-connrefused -o /dev/null'.split(' ');

export function createProcesses(): Processes {
  const running = new Set<ChildProcess>();
  const start = (namespace: string, command: string, args: readonly string[]): ChildProcess => {
    const child = spawn('ip', ['netns', 'exec', namespace, command, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    running.add(child);
    child.once('exit', () => running.delete(child));
    return child;
  };
  const close = async (): Promise<void> => {
    const ends = [...running].map(async (child) => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
    await Promise.all(ends);
  };
  const ended = whenInterrupted(close);
  const run = async (namespace: string, command: string, args: readonly string[]): Promise<string> => {
    const child = start(namespace, command, args);
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
    return output;
  };
  return {
    start,
    run,
    async sha256(namespace, command, args) {
      const child = start(namespace, command, args);
      const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
      const hash = createHash('sha256');
      child.stdout?.on('data', (chunk: Buffer) => hash.update(chunk));
      const [code, signal] = await closed;
      if (code !== 0) throw new Error(`${command} in ${namespace} ended with ${code ?? signal}`);
      return hash.digest('hex');
    },
    async untilReady(namespace, url) {
      await run(namespace, 'curl', [...READY, url]);
    },
    async close() {
      ended();
      await close();
    },
  };
}
