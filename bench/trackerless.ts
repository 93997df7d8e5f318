/**
 * Agents whose origin and tracker are dead: how soon they find the one that has a blob, and get it.
 *
 *     node bench/trackerless.ts [--agents 20] [--size MiB] [--rate 1gbit] [--only dht,mdns] [--idle SECONDS]
 *                               [--folder DIR] [--json]
 *
 * Real processes in network namespaces (needs root): an origin with its tracker, and agents. One agent pulls an image of one layer
 * while everybody is up; then the origin is killed (SIGKILL), and all the others are asked for the image at once, by its
 * digest: the manifest, then the layer, whose sha256 is checked. `dht`: provider records alone, every agent beginning with the
 * address of one other; `mdns`: the local network alone. Prints medians and worst over the agents: the time from the request for the
 * blob to the first member that has it, to its first piece, and to the end of the client's pull (which is held until the whole blob was
 * proved), and the processor time that an agent spent on it; with --idle what the agents cost beforehand while nothing happens, and beside them agents without either.
 * Bar: the median time to the first peer is under one second.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createWorld, type Node, type Program, type World } from './cold/world.ts';
import { median } from './measure/median.ts';
import { numberOf, readOptions } from './measure/options.ts';

const KINDS = ['dht', 'mdns', 'off'] as const;
type Kind = (typeof KINDS)[number];

const values = readOptions(import.meta.filename, {
  agents: { type: 'string', default: '20' },
  size: { type: 'string', default: '16' },
  rate: { type: 'string', default: '1gbit' },
  only: { type: 'string', default: 'dht,mdns' },
  idle: { type: 'string', default: '0' },
  folder: { type: 'string', default: os.tmpdir() },
  json: { type: 'boolean', default: false },
});
const agentCount = numberOf('agents', values.agents, 2);
const size = numberOf('size', values.size, 1) * 1024 ** 2;
const idleSeconds = numberOf('idle', values.idle);
const kinds = KINDS.filter((kind) => values.only.split(',').includes(kind));
const REPOSITORY = 'bench/trackerless';
const BAR_MS = 1_000;
const READY_DEADLINE_MS = 60_000;
/** What is new is told to the DHT within this. */
const TOLD_DEADLINE_MS = 20_000;

interface Agent {
  readonly node: Node;
  readonly program: Program;
}

interface Row {
  readonly kind: Kind;
  readonly firstPeerMs: readonly number[];
  readonly firstPieceMs: readonly number[];
  readonly totalMs: readonly number[];
  /** Of each agent that pulled, during the pulls. */
  readonly cpuSeconds: readonly number[];
  readonly idleCpuShare: number;
  readonly rssMib: number;
}

interface Status {
  readonly origins: readonly { readonly open: boolean | null }[];
  readonly swarm: { readonly peerListen: string | null };
  readonly discovery: { readonly members: number; readonly table: number; readonly records: number } | null;
}

interface Report {
  readonly digest: string;
  readonly phasesMs: Readonly<Record<'metainfo' | 'prepare' | 'first-peer' | 'first-piece', number>>;
}

const statusOf = async ({ node, program }: Agent): Promise<Status> =>
  JSON.parse(await node.text(`${program.url}/api/v1/status`)) as Status;

async function until(what: string, holds: () => Promise<boolean>, deadlineMs: number): Promise<void> {
  for (const deadline = performance.now() + deadlineMs; performance.now() < deadline; await delay(100)) {
    if (await holds()) return;
  }
  throw new Error(`waited in vain for ${what}`);
}

function flagsOf(kind: Kind, origin: string, data: string, first: string | undefined): string[] {
  return [
    ...['--origin', origin, '--data', data],
    ...(kind === 'dht' ? ['--discovery-dht', 'on'] : []),
    ...(kind === 'dht' && first !== undefined ? ['--discovery-bootstrap', first] : []),
    ...(kind === 'mdns' ? ['--discovery-mdns', 'on'] : []),
  ];
}

/** Starts them one after the other and waits until each knows the others, and that the origin is open. */
async function startAgents(world: World, kind: Kind, origin: string, folder: string): Promise<Agent[]> {
  const agents: Agent[] = [];
  let first: string | undefined;
  for (const [index, node] of world.nodes.slice(1).entries()) {
    const data = path.join(folder, `${kind}-${index}`);
    const agent = { node, program: await node.start('agent', flagsOf(kind, origin, data, first)) };
    agents.push(agent);
    first ??= (await statusOf(agent)).swarm.peerListen ?? undefined;
  }
  const isReady = async (agent: Agent): Promise<boolean> => {
    const { origins, discovery } = await statusOf(agent);
    if (origins[0]?.open !== true) return false;
    if (kind === 'dht') return (discovery?.table ?? 0) >= Math.min(agentCount - 1, 8);
    return kind === 'off' || (discovery?.members ?? 0) >= agentCount - 1;
  };
  for (const agent of agents) await until('the agents to meet', () => isReady(agent), READY_DEADLINE_MS);
  return agents;
}

const cpuOf = (agents: readonly Agent[]): Promise<number[]> =>
  Promise.all(agents.map(({ program }) => program.cpuSeconds()));

/** Mean share of a core, and resident memory, of one agent that does nothing. */
async function idle(agents: readonly Agent[]): Promise<{ idleCpuShare: number; rssMib: number }> {
  const spent = async (): Promise<number> => (await cpuOf(agents)).reduce((sum, seconds) => sum + seconds, 0);
  const before = await spent();
  await delay(idleSeconds * 1000);
  const idleCpuShare = ((await spent()) - before) / agents.length / Math.max(1, idleSeconds);
  const texts = await Promise.all(agents.map(({ node, program }) => node.text(`${program.url}/metrics`)));
  const rss = texts.map((text) => Number(/^process_resident_memory_bytes (\S+)/m.exec(text)?.[1]));
  return { idleCpuShare, rssMib: median(rss) / 1024 ** 2 };
}

async function measure(kind: Kind, folder: string): Promise<Row> {
  const world = await createWorld({ nodes: agentCount + 1, rate: values.rate, transports: 'libp2p' });
  try {
    const [home] = world.nodes;
    if (!home) throw new Error('no nodes');
    const origin = await home.start('origin', ['--data', path.join(folder, `${kind}-origin`)]);
    const agents = await startAgents(world, kind, origin.url, folder);
    const costs = await idle(agents);
    if (kind === 'off')
      return { kind, firstPeerMs: [], firstPieceMs: [], totalMs: [], cpuSeconds: [], ...costs };

    const [holder, ...others] = agents;
    if (!holder) throw new Error('no agents');
    const digest = await home.push(origin.url, REPOSITORY, 'v1', Date.now() % 1_000_000, size);
    await holder.node.pull(holder.program.url, REPOSITORY, 'v1', digest);
    const { manifests } = JSON.parse(await holder.node.text(`${holder.program.url}/api/v1/pulls`)) as {
      manifests: { digest: string }[];
    };
    const manifest = manifests[0]?.digest;
    if (manifest === undefined) throw new Error('no manifest was pulled');
    if (kind === 'dht') {
      // Of the layer and of the manifest.
      const told = async (): Promise<boolean> => {
        const all = await Promise.all(others.map(statusOf));
        const records = all.reduce((sum, { discovery }) => sum + (discovery?.records ?? 0), 0);
        return records > Math.min(others.length, 8);
      };
      await until('the provider records', told, TOLD_DEADLINE_MS);
    }
    await origin.kill();

    const before = await cpuOf(others);
    const pulls = await Promise.all(
      others.map(({ node, program }) => node.pull(program.url, REPOSITORY, manifest, digest)),
    );
    const after = await cpuOf(others);
    const reports = await Promise.all(
      others.map(async ({ node, program }) => {
        const { pulls: all } = JSON.parse(await node.text(`${program.url}/api/v1/pulls`)) as {
          pulls: Report[];
        };
        const report = all.find((pull) => pull.digest === digest);
        if (!report) throw new Error('a pull is not reported');
        return report.phasesMs;
      }),
    );
    const firstPeer = reports.map((phases) => phases.metainfo + phases.prepare + phases['first-peer']);
    return {
      kind,
      firstPeerMs: firstPeer,
      firstPieceMs: reports.map((phases, index) => (firstPeer[index] ?? 0) + phases['first-piece']),
      totalMs: pulls.map(({ totalMs }) => totalMs),
      cpuSeconds: after.map((seconds, index) => seconds - (before[index] ?? 0)),
      ...costs,
    };
  } finally {
    await world.close();
  }
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-bench-'));
const rows: Row[] = [];
try {
  for (const kind of kinds) rows.push(await measure(kind, folder));
} finally {
  await rm(folder, { recursive: true, force: true });
}

if (values.json) console.log(JSON.stringify({ agents: agentCount, size, rows }));
else {
  const both = (times: readonly number[]): string =>
    `${Math.round(median(times))} / ${Math.round(Math.max(...times))}`;
  console.log(
    `${agentCount} agents, origin and tracker killed, ${size / 1024 ** 2} MiB that one has; ms, median / worst`,
  );
  console.table(
    rows.map((row) => ({
      found: row.kind,
      pulls: row.totalMs.length,
      'first peer': both(row.firstPeerMs),
      'first piece': both(row.firstPieceMs),
      'whole pull': both(row.totalMs),
      'CPU s': row.cpuSeconds.length === 0 ? '' : median(row.cpuSeconds).toFixed(2),
      bar: median(row.firstPeerMs) < BAR_MS ? 'met' : row.kind === 'off' ? '' : 'missed',
      ...(idleSeconds > 0 && {
        'idle CPU of an agent': `${(100 * row.idleCpuShare).toFixed(2)} %`,
        'RSS MiB': Math.round(row.rssMib),
      }),
    })),
  );
}
