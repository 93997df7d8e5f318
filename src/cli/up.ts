import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { optional, path as pathKind } from '#config';
import { defineCommand } from './command.ts';
import { CommandError } from './errors.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { formatBytes, formatSeconds } from './text.ts';
import { type Child, preferPort, startChild } from './up/children.ts';
import { clientSetup } from './up/client-setup.ts';
import { type Measurement, measurementTable, measurePull } from './up/measure.ts';
import { pushSampleImage } from './up/push.ts';

const AGENTS = 3;
const ORIGIN_PORT = 5000;

export const up = defineCommand({
  name: 'up',
  summary:
    'Runs an origin with its tracker and three agents on this machine, pushes sample images, pulls them through ' +
    'the swarm, prints where the bytes came from, and stays up until Ctrl-C',
  operands: '',
  operandCount: [0, 0],
  options: {
    data: optional(
      pathKind,
      'folder for data and logs, kept; by default a temporary one, removed at the end',
    ),
  },
  switches: { once: 'end after the report', json: 'the report as JSON, one object a line' },
  configFile: 'none',
  run: async ({ values, has }) => {
    const stop = stopSignal();
    const json = has('json');
    const say = (line: string): void => {
      (json ? process.stderr : process.stdout).write(`${line}\n`);
    };
    const data = values.data ?? (await mkdtemp(path.join(os.tmpdir(), 'shoal-up-')));
    const children: Child[] = [];
    try {
      say(`Starting the origin and ${AGENTS} agents, data in ${data}`);
      const [origin, ...agents] = await startAll(data, children, stop);
      const reference = `sample/app:${stamp()}`;
      const failed = anyFailure(children);
      const measurements = await Promise.race([tryOut(origin, agents, reference, say, stop), failed]);
      const report = reportText(measurements);
      if (json) for (const row of measurements) process.stdout.write(`${JSON.stringify(row)}\n`);
      else process.stdout.write(`\n${report}\n`);
      if (has('once')) return EXIT_DONE;
      say(clientSetup(agents[0]?.url ?? '', origin.url, reference));
      for (const child of children) say(`${child.name.padEnd(8)} ${child.url}  log ${child.logFile}`);
      say('\nRunning. Ctrl-C stops everything.');
      await Promise.race([aborted(stop), failed]);
      return EXIT_DONE;
    } catch (error) {
      if (!stop.aborted) throw error;
      return EXIT_FAILED;
    } finally {
      if (children.length > 0) say('Stopping.');
      await Promise.all(children.map((child) => child.stop()));
      if (values.data === undefined) await rm(data, { recursive: true, force: true });
    }
  },
});

async function startAll(
  data: string,
  children: Child[],
  stop: AbortSignal,
): Promise<readonly [Child, ...Child[]]> {
  const start = async (name: string, port: number, ...args: string[]): Promise<Child> => {
    const swarm = ['--peer-listen', '127.0.0.1:0', '--bittorrent-listen', '127.0.0.1:0'];
    const flags = ['--listen', await preferPort(port), ...swarm];
    const command = [...args, ...flags, '--data', path.join(data, name)];
    const child = await startChild(name, path.join(data, 'logs'), command, stop);
    children.push(child);
    return child;
  };
  const origin = await start('origin', ORIGIN_PORT, 'origin');
  const agents: Child[] = [];
  for (let number = 1; number <= AGENTS; number += 1) {
    agents.push(await start(`agent-${number}`, ORIGIN_PORT + number, 'agent', '--origin', origin.url));
  }
  return [origin, ...agents];
}

/** Image one through the agents one after another, image two through all at once, image one again. */
async function tryOut(
  origin: Child,
  agents: readonly Child[],
  reference: string,
  say: (line: string) => void,
  stop: AbortSignal,
): Promise<readonly Measurement[]> {
  const measurements: Measurement[] = [];
  const second = reference.replace('sample/app', 'sample/other');
  for (const image of [reference, second]) {
    const [repository, tag] = image.split(':');
    const started = performance.now();
    const pushed = await pushSampleImage(origin.url, repository ?? '', tag ?? '');
    stop.throwIfAborted();
    const seconds = formatSeconds((performance.now() - started) / 1000);
    say(`Made and pushed ${image}: ${pushed.layers} layers, ${formatBytes(pushed.size)} in ${seconds}`);
  }
  for (const agent of agents) {
    say(`Pulling ${reference} through ${agent.name}`);
    measurements.push(await measurePull('one by one', agent, reference, stop));
  }
  const together = async (phase: string, image: string): Promise<void> => {
    say(`Pulling ${image} through all agents at once${phase === 'again' ? ', from their caches' : ''}`);
    measurements.push(...(await Promise.all(agents.map((agent) => measurePull(phase, agent, image, stop)))));
  };
  await together('at once', second);
  await together('again', reference);
  return measurements;
}

function reportText(measurements: readonly Measurement[]): string {
  const blobs = measurements.reduce((sum, row) => sum + row.blobs, 0);
  // A wrong digest fails the pull, so a report is only ever made of right ones.
  return `${measurementTable(measurements)}\n${measurements.length} pulls, ${blobs} blobs and their manifests checked: all digests right.\n`;
}

/** Rejects when a program ends that should be running. */
async function anyFailure(children: readonly Child[]): Promise<never> {
  const [child, how] = await Promise.race(
    children.map(async (each): Promise<[Child, string]> => [each, await each.ended]),
  );
  throw new CommandError(`${child.name} ${how}; the end of its log:\n${await child.logTail()}`);
}

/** Aborts at the first SIGINT or SIGTERM; a second one ends at once, and the programs follow by their IPC channel. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT_FAILED);
    controller.abort(new CommandError('interrupted'));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return controller.signal;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** A tag that no earlier run in the same folder used. */
function stamp(): string {
  return `v${Date.now().toString(36)}`;
}
