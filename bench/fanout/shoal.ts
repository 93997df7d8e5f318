import { open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseMetainfo } from '#torrent';
import { content, contentDigest } from '../../test/support/content.ts';
import { sumMetric } from '../../test/support/metrics-text.ts';
import type { Outcome, Scenario } from '../fanout.ts';
import { watchCores } from '../measure/cores.ts';
import { cpuSeconds } from '../measure/program.ts';
import type { Network } from './network.ts';
import { createProcesses, type Processes } from './processes.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const curl = ['curl', '-sS', '--fail', '--max-time', '600'] as const;

/** An origin in namespace 0 and an agent in each other one; each agent's mirror is asked for every blob. */
export async function runShoal(
  transport: 'tcp' | 'libp2p',
  scenario: Scenario,
  network: Network,
  folder: string,
): Promise<Outcome> {
  const processes = createProcesses();
  try {
    const origin = `http://${network.address(0)}:5000`;
    const seed = processes.start(network.namespace(0), bin, [
      ...['origin', '--listen', `${network.address(0)}:5000`, '--swarm-transports', transport],
      ...swarmListener(transport, network.address(0)),
      ...['--admission', 'open', '--data', path.join(folder, 'origin'), '--log-level', 'warn'],
    ]);
    await processes.untilReady(network.namespace(0), `${origin}/readyz`);
    const digests = await push(processes, network.namespace(0), origin, scenario.sizes, folder);

    const agents = new Map<number, ReturnType<Processes['start']>>();
    for (let index = 1; index <= scenario.nodes; index += 1) {
      const agent = processes.start(network.namespace(index), bin, [
        ...['agent', '--origin', origin, '--listen', '127.0.0.1:5001'],
        ...['--swarm-transports', transport, ...swarmListener(transport, network.address(index))],
        ...['--admission', 'open'],
        ...(scenario.zones > 0 ? ['--zone', `zone${zoneOf(index, scenario.zones)}`] : []),
        ...['--data', path.join(folder, `agent${index}`), '--log-level', 'warn', ...scenario.flags],
      ]);
      agents.set(index, agent);
    }
    for (const index of agents.keys())
      await processes.untilReady(network.namespace(index), 'http://127.0.0.1:5001/readyz');

    const zones = Array.from({ length: scenario.zones }, (_, zone) => zone);
    const into = (): Promise<number[]> => Promise.all(zones.map((zone) => network.bytesInto(zone)));
    const intoBefore = await into();
    const liars = await startLiars(processes, network, scenario, { origin, digests, folder });
    const spent = async (): Promise<{ seed: number; nodes: number }> => {
      const nodes = await Promise.all([...agents.values()].map(cpuOf));
      return { seed: await cpuOf(seed), nodes: nodes.reduce((sum, seconds) => sum + seconds, 0) };
    };
    const before = await spent();
    const coresUsed = await watchCores();
    const started = performance.now();
    const half = (scenario.sizes.reduce((sum, size) => sum + size, 0) / scenario.bytesPerSecond / 2) * 1000;
    const doomed = (index: number): boolean => index > scenario.nodes - scenario.kill;
    const pull = async (index: number): Promise<number | undefined> => {
      await delay((index - 1) * scenario.staggerSeconds * 1000);
      const from = performance.now();
      if (doomed(index)) setTimeout(() => agents.get(index)?.kill('SIGKILL'), half);
      try {
        await Promise.all(digests.map((digest) => check(processes, network.namespace(index), digest)));
      } catch (error) {
        if (doomed(index)) return undefined;
        throw error;
      }
      return (performance.now() - from) / 1000;
    };
    const seconds = await Promise.all([...agents.keys()].map(pull));
    const total = (performance.now() - started) / 1000;
    const intoAfter = await into();
    const cores = await coresUsed();
    const after = await spent();
    const metrics = await processes.run(network.namespace(0), curl[0], [
      ...curl.slice(1),
      `${origin}/metrics`,
    ]);
    return {
      seconds,
      total,
      ...(scenario.zones > 0 && {
        intoZones: intoAfter.map((count, zone) => count - (intoBefore[zone] ?? 0)),
      }),
      cores,
      // Of killed nodes nothing is known afterwards.
      ...(scenario.kill === 0 && {
        cpu: { seed: after.seed - before.seed, nodes: after.nodes - before.nodes },
      }),
      ...(liars.length > 0 && {
        garbage: {
          blocks: await endLiars(liars),
          rejected: await sumOverAgents(processes, network, [...agents.keys()]),
        },
      }),
      seedBytes: sumMetric(metrics, 'shoal_origin_blob_bytes_total', { direction: 'out' }),
    };
  } finally {
    await processes.close();
  }
}

/** Which zone a node other than the seed is in: they take turns. */
export function zoneOf(index: number, zones: number): number | undefined {
  return index === 0 || zones === 0 ? undefined : (index - 1) % zones;
}

/** Processor seconds so far; 0 for a process that is gone. */
const cpuOf = (child: ReturnType<Processes['start']>): Promise<number> =>
  cpuSeconds(child.pid ?? 0).catch(() => 0);

interface Liar {
  readonly child: ReturnType<Processes['start']>;
  next(): Promise<string>;
}

/** Members that send garbage, each in a node behind the others; they are announced when this resolves. */
async function startLiars(
  processes: Processes,
  network: Network,
  scenario: Scenario,
  given: { readonly origin: string; readonly digests: readonly string[]; readonly folder: string },
): Promise<Liar[]> {
  const liars: Liar[] = [];
  if (scenario.garbage === 0) return liars;
  const infoHashes: string[] = [];
  for (const digest of given.digests) {
    const file = path.join(given.folder, 'torrent');
    const url = `${given.origin}/v2/bench/blob/_shoal/torrents/${digest}`;
    await processes.run(network.namespace(0), curl[0], [...curl.slice(1), '-o', file, url]);
    infoHashes.push(parseMetainfo(await readFile(file)).infoHash);
  }
  for (let index = scenario.nodes + 1; index <= scenario.nodes + scenario.garbage; index += 1) {
    const listen = `${network.address(index)}:6881`;
    const args = [path.join(import.meta.dirname, 'garbage-peer.ts'), listen, given.origin, ...infoHashes];
    const child = processes.start(network.namespace(index), process.execPath, args);
    if (!child.stdout) throw new Error('no output');
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<string> => String((await lines.next()).value);
    if ((await next()) !== 'ready') throw new Error('the member that lies did not start');
    liars.push({ child, next });
  }
  return liars;
}

/** Blocks that they sent. */
async function endLiars(liars: readonly Liar[]): Promise<number> {
  let blocks = 0;
  for (const { child, next } of liars) {
    child.stdin?.end();
    blocks += Number((await next()).replace('sent ', ''));
  }
  return blocks;
}

async function sumOverAgents(
  processes: Processes,
  network: Network,
  agents: readonly number[],
): Promise<number> {
  let rejected = 0;
  for (const index of agents) {
    const url = 'http://127.0.0.1:5001/metrics';
    const text = await processes.run(network.namespace(index), curl[0], [...curl.slice(1), url]);
    rejected += sumMetric(text, 'shoal_pieces_rejected_total', {});
  }
  return rejected;
}

const swarmListener = (transport: 'tcp' | 'libp2p', address: string): readonly string[] => [
  transport === 'tcp' ? '--bittorrent-listen' : '--peer-listen',
  `${address}:6881`,
];

/** Pushes one blob a size, from inside the origin's namespace. */
async function push(
  processes: Processes,
  namespace: string,
  origin: string,
  sizes: readonly number[],
  folder: string,
): Promise<string[]> {
  const digests: string[] = [];
  for (const [seed, size] of sizes.entries()) {
    const file = path.join(folder, `blob${seed}`);
    const handle = await open(file, 'w');
    for (const chunk of content(seed, size)) await handle.write(chunk);
    await handle.close();
    const digest = contentDigest(seed, size);
    const begun = await processes.run(namespace, curl[0], [
      ...curl.slice(1),
      '-i',
      '-X',
      'POST',
      `${origin}/v2/bench/blob/blobs/uploads/`,
    ]);
    const location = new URL(/^location: (\S+)/im.exec(begun)?.[1] ?? '', origin);
    location.searchParams.set('digest', digest);
    await processes.run(namespace, curl[0], [
      ...curl.slice(1),
      '-T',
      file,
      '-H',
      'content-type: application/octet-stream',
      location.href,
    ]);
    // Asking for the torrent waits until its piece hashes are there.
    await processes.run(namespace, curl[0], [
      ...curl.slice(1),
      '-o',
      '/dev/null',
      `${origin}/v2/bench/blob/_shoal/torrents/${digest}`,
    ]);
    digests.push(digest);
  }
  await writeFile(path.join(folder, 'digests'), digests.join('\n'));
  return digests;
}

/** Pulls one blob through the mirror of a node and checks its sha256. */
async function check(processes: Processes, namespace: string, digest: string): Promise<void> {
  const [command, ...args] = curl;
  const url = `http://127.0.0.1:5001/v2/bench/blob/blobs/${digest}`;
  const got = `sha256:${await processes.sha256(namespace, command, [...args, url])}`;
  if (got !== digest) throw new Error(`${namespace} got ${got} instead of ${digest}`);
}
