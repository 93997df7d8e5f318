/**
 * Where a cold pull is measured: an origin and nodes with an agent each, on the loopback, or in network
 * namespaces whose links are limited both ways. Programs are bin/shoal's; who asks is a process in the same node.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/ports.ts';
import { createNetwork, type Network } from '../fanout/network.ts';
import { whenInterrupted } from '../measure/interrupted.ts';
import { cpuSeconds } from '../measure/program.ts';
import type { Orders } from './node.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));

export interface Program {
  readonly url: string;
  /** User and system seconds of all its threads so far. */
  cpuSeconds(): Promise<number>;
  stop(): Promise<void>;
  /** Ends it at once (SIGKILL). */
  kill(): Promise<void>;
}

/** A node: its own process, which is told what to do, and the programs that run beside it. */
export interface Node extends Orders {
  start(program: 'origin' | 'agent', flags: readonly string[]): Promise<Program>;
}

export interface World {
  /** Node 0 is the origin's. */
  readonly nodes: readonly Node[];
  close(): Promise<void>;
}

/** `rate` in tc's notation, for example 100mbit, needs root; undefined: everybody on the loopback. */
export async function createWorld(options: {
  readonly nodes: number;
  readonly rate: string | undefined;
  readonly transports: string;
}): Promise<World> {
  const network = options.rate === undefined ? undefined : await createNetwork(options.nodes, options.rate);
  const children = new Set<ChildProcess>();
  const close = async (): Promise<void> => {
    ended();
    const ends = [...children].map(async (child) => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
    await Promise.all(ends);
    await network?.close();
  };
  const ended = whenInterrupted(close);
  const run = (index: number, command: string, args: readonly string[], stdin: 'pipe' | 'ignore') => {
    const [file, ...rest] = network
      ? ['ip', 'netns', 'exec', network.namespace(index), command, ...args]
      : [command, ...args];
    const child = spawn(file, rest, { stdio: [stdin, 'pipe', 'inherit'] });
    children.add(child);
    child.once('exit', () => children.delete(child));
    return child;
  };
  const nodes = Array.from({ length: options.nodes }, (_, index): Node => {
    const orders = ordersOf(
      run(index, process.execPath, [path.join(import.meta.dirname, 'node.ts')], 'pipe'),
    );
    return {
      ...orders,
      async start(program, flags) {
        const listeners = await listenersOf(network, index, program, options.transports);
        const child = run(
          index,
          bin,
          [program, ...listeners.flags, '--log-level', 'warn', ...flags],
          'ignore',
        );
        child.stdout?.resume();
        await orders.ready(listeners.url);
        const end = async (signal: NodeJS.Signals): Promise<void> => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          child.kill(signal);
          await once(child, 'exit');
        };
        return {
          url: listeners.url,
          cpuSeconds: () => cpuSeconds(child.pid ?? 0),
          stop: () => end('SIGTERM'),
          kill: () => end('SIGKILL'),
        };
      },
    };
  });
  return { nodes, close };
}

/** A mirror listens on the loopback of its node; everything else where the other nodes reach it. */
async function listenersOf(
  network: Network | undefined,
  index: number,
  program: 'origin' | 'agent',
  transports: string,
): Promise<{ readonly url: string; readonly flags: readonly string[] }> {
  const host = network?.address(index) ?? '127.0.0.1';
  const httpHost = program === 'agent' ? '127.0.0.1' : host;
  const port = network ? (program === 'agent' ? 5001 : 5000) : await freePort();
  const flags = ['--listen', `${httpHost}:${port}`, '--admission', 'open', '--swarm-transports', transports];
  for (const [name, listener] of [
    ['tcp', 'bittorrent'],
    ['libp2p', 'peer'],
  ] as const) {
    flags.push(`--${listener}-listen`, transports.split(',').includes(name) ? `${host}:0` : 'off');
  }
  return { url: `http://${httpHost}:${port}`, flags };
}

function ordersOf(child: ChildProcess): Orders {
  if (!child.stdout || !child.stdin) throw new Error('no pipes');
  const { stdin } = child;
  // A process that ended is told of by its output, which ends too.
  stdin.on('error', () => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const tell = async <T>(...order: readonly unknown[]): Promise<T> => {
    stdin.write(`${JSON.stringify(order)}\n`);
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the process of a node ended');
    const answer = JSON.parse(String(value)) as { result: T; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.result;
  };
  return {
    ready: (...args) => tell('ready', ...args),
    push: (...args) => tell('push', ...args),
    pull: (...args) => tell('pull', ...args),
    text: (...args) => tell('text', ...args),
    post: (...args) => tell('post', ...args),
    underWay: () => tell('underWay'),
  };
}
