/**
 * What an agent costs, or saves, a real client: containerd pulls a cold image and unpacks it, straight from the
 * origin and through an agent that does not have it either, in pairs.
 *
 *     sudo node bench/pull.ts [--rate 1gbit|off] [--size MiB] [--layers 5] [--rounds 5] [--pullers 1]
 *                             [--warm] [--no-unpack] [--explain] [--flags '…'] [--folder DIR] [--json]
 *
 * An origin and two nodes, each with a containerd and an agent of its own, in network namespaces whose links run at
 * --rate both ways (tbf); `off`: all in one namespace, over its loopback. The image is --size MiB of gzipped layers
 * that do not compress. Each round has two pulls by `ctr images pull --hosts-dir`, and every other one begins with the
 * agents': one straight from the origin, one through agents that were started for it with empty folders. With
 * --pullers 2 both nodes pull at once, and the slower one counts. --warm lets the agents pull another, small
 * image first: their code is compiled then. --explain prints what the last agent says of its last pull.
 * Prints the seconds of each pair and the median of the ratios; for the agents' pull also the processor seconds of origin,
 * agents and containerds, and how busy the processors of this machine were while it ran: all nodes are on
 * them, so what is near 100 % says nothing about nodes of their own. Bar: at most 1.05 × direct.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createNetwork } from './fanout/network.ts';
import { createProcesses } from './fanout/processes.ts';
import { type BenchContainerd, startContainerd } from './measure/containerd.ts';
import { buildImage, type LayeredImage } from './measure/layered-image.ts';
import { median } from './measure/median.ts';
import { takeBackMemory } from './measure/memory.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { cpuSeconds } from './measure/program.ts';

const values = readOptions(import.meta.filename, {
  rate: { type: 'string', default: '1gbit' },
  size: { type: 'string', default: '500' },
  layers: { type: 'string', default: '5' },
  rounds: { type: 'string', default: '5' },
  pullers: { type: 'string', default: '1' },
  warm: { type: 'boolean', default: false },
  'no-unpack': { type: 'boolean', default: false },
  explain: { type: 'boolean', default: false },
  flags: { type: 'string', default: '' },
  folder: { type: 'string', default: os.tmpdir() },
  json: { type: 'boolean', default: false },
});
const size = numberOf('size', values.size, 1) * 1024 ** 2;
const layers = numberOf('layers', values.layers, 1);
const rounds = numberOf('rounds', values.rounds, 1);
const pullers = numberOf('pullers', values.pullers, 1);
const agentFlags = values.flags.split(' ').filter((flag) => flag !== '');
const bin = fileURLToPath(new URL('../bin/shoal', import.meta.url));
const NODES = 2;
const WARM_BYTES = 16 * 1024 ** 2;
/** For the agents' first announces, and for the disk to become idle. */
const SETTLE_MS = 1_000;
const BAR = 1.05;
if (pullers > NODES) {
  console.error(`--pullers ${values.pullers}: there are ${NODES} nodes`);
  process.exit(2);
}

/** One pull by all that pull. */
interface Pulled {
  /** Until the last node has the image. */
  readonly seconds: number;
  /** Processor seconds. */
  readonly cpu: Readonly<Record<'origin' | 'agent' | 'containerd', number>>;
  /** Of all processors, 0 to 1. */
  readonly busy: number;
}

type Spent = Record<'origin' | 'agent' | 'containerd' | 'busy' | 'idle', number>;

interface Place {
  readonly namespace: string;
  /** Where the other nodes reach it. */
  readonly host: string;
  readonly agent: string;
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-pull-'));
const limited = values.rate !== 'off';
const network = await createNetwork(limited ? NODES + 1 : 1, limited ? values.rate : '10gbit');
const processes = createProcesses();
/** 0 is the origin's. */
const places = Array.from(
  { length: NODES + 1 },
  (_, index): Place => ({
    namespace: network.namespace(limited ? index : 0),
    host: limited ? network.address(index) : '127.0.0.1',
    agent: `127.0.0.1:${limited ? 5001 : 5100 + index}`,
  }),
);
let agents: readonly ChildProcess[] = [];
const [seed, ...nodes] = places as [Place, ...Place[]];
const origin = `${seed.host}:5000`;

const run = (place: Place, command: string, ...args: string[]): Promise<string> =>
  processes.run(place.namespace, command, args);
const untilReady = (place: Place, address: string): Promise<void> =>
  processes.untilReady(place.namespace, `http://${address}/readyz`);

/** The image is at the origin, and so are its piece hashes. */
async function push(name: string, imageSeed: number, bytes: number, count: number): Promise<LayeredImage> {
  const made = path.join(folder, name);
  const layerBytes = Math.floor(bytes / count);
  const image = await buildImage({ folder: made, seed: imageSeed, layers: count, layerBytes });
  const target = `docker://${origin}/bench/${name}:v1`;
  await run(seed, 'skopeo', 'copy', '-q', '--dest-tls-verify=false', image.reference, target);
  for (const digest of image.layers) {
    const url = `http://${origin}/v2/bench/${name}/_shoal/torrents/${digest}`;
    await run(seed, 'curl', '-sSf', '-o', '/dev/null', url);
  }
  await rm(made, { recursive: true });
  return image;
}

/** Cold agents; the answer stops them and removes what they fetched. */
async function startAgents(round: number): Promise<() => Promise<void>> {
  const data = path.join(folder, `agents${round}`);
  agents = nodes.map((node, index) =>
    processes.start(node.namespace, bin, [
      ...['agent', '--origin', `http://${origin}`, '--listen', node.agent, '--admission', 'open'],
      ...['--peer-listen', `${node.host}:0`, '--bittorrent-listen', 'off', '--log-level', 'warn'],
      ...['--data', path.join(data, String(index)), ...agentFlags],
    ]),
  );
  for (const node of nodes) await untilReady(node, node.agent);
  return async () => {
    for (const child of agents) {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    }
    agents = [];
    await rm(data, { recursive: true, force: true });
  };
}

/** From the first line of /proc/stat, 100 ticks a second: user, nice, system, idle, iowait, … */
function machineSeconds(stat: string): { busy: number; idle: number } {
  const ticks = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '').split(' ').map(Number);
  const idle = ((ticks[3] ?? 0) + (ticks[4] ?? 0)) / 100;
  return { idle, busy: ticks.reduce((sum, each) => sum + each, 0) / 100 - idle };
}

try {
  const originProcess = processes.start(seed.namespace, bin, [
    ...['origin', '--listen', origin, '--admission', 'open', '--peer-listen', `${seed.host}:0`],
    ...['--bittorrent-listen', 'off', '--log-level', 'warn', '--data', path.join(folder, 'origin')],
  ]);
  await untilReady(seed, origin);
  const image = await push('cold', 1, size, layers);
  await push('warm', 1000, WARM_BYTES, 1);
  const clients: BenchContainerd[] = [];
  for (const [index, { namespace }] of nodes.entries()) {
    const home = path.join(folder, `containerd${index}`);
    clients.push(await startContainerd({ processes, namespace, home }));
  }

  const unpack = !values['no-unpack'];
  const reference = (name: string): string => `${origin}/bench/${name}:v1`;
  const pullAll = async (name: string, urlOf: (node: Place) => string): Promise<void> => {
    await Promise.all(
      nodes
        .slice(0, pullers)
        .map((node, index) => clients[index]?.pull(reference(name), urlOf(node), { unpack })),
    );
  };
  const forgetAll = async (name: string): Promise<void> => {
    await Promise.all(clients.slice(0, pullers).map((client) => client.forget(reference(name))));
  };
  /** Processor seconds since the start of each, and of all that this machine did. */
  async function spentCpu(): Promise<Spent> {
    const sum = async (children: readonly ChildProcess[]): Promise<number> => {
      const each = await Promise.all(children.map(({ pid }) => cpuSeconds(pid ?? 0)));
      return each.reduce((total, seconds) => total + seconds, 0);
    };
    return {
      origin: await sum([originProcess]),
      agent: await sum(agents),
      containerd: await sum(clients.map(({ process: child }) => child)),
      ...machineSeconds(await readFile('/proc/stat', 'utf8')),
    };
  }

  async function measure(urlOf: (node: Place) => string): Promise<Pulled> {
    await run(seed, 'sync');
    await delay(SETTLE_MS);
    const before = await spentCpu();
    const startedAt = performance.now();
    await pullAll('cold', urlOf);
    const seconds = (performance.now() - startedAt) / 1000;
    const spent = await spentCpu();
    const each = (kind: keyof Spent): number => spent[kind] - before[kind];
    const busy = 1 - each('idle') / (each('idle') + each('busy'));
    await forgetAll('cold');
    const cpu = { origin: each('origin'), agent: each('agent'), containerd: each('containerd') };
    return { seconds, cpu, busy };
  }

  let explained = '';
  async function throughAgents(round: number): Promise<Pulled> {
    const stop = await startAgents(round);
    const urlOf = (node: Place): string => `http://${node.agent}`;
    if (values.warm) {
      await pullAll('warm', urlOf);
      await forgetAll('warm');
    }
    const pulled = await measure(urlOf);
    const last = nodes[pullers - 1] as Place;
    if (values.explain) explained = await run(last, bin, 'explain', '--agent', urlOf(last));
    await stop();
    return pulled;
  }
  const direct = (): Promise<Pulled> => measure(() => `http://${origin}`);

  if (!values.json) {
    console.log(
      `${(image.bytes / 1024 ** 2).toFixed(0)} MiB in ${layers} layers, ${pullers} of ${NODES} nodes pull, ` +
        `${limited ? `links of ${values.rate}` : 'loopback'}, ${unpack ? 'unpacked' : 'not unpacked'}, ` +
        `agents ${values.warm ? 'warm' : 'just started'}`,
    );
    console.log('                                     processor s while by agents:');
    console.log('round      direct       agent   ÷ direct   origin  agents  containerd   all busy');
  }
  await takeBackMemory(folder, size * (4 + 3 * pullers));
  // What is compiled or cached at the first pull of a containerd and an origin counts for nobody.
  await direct();
  const ratios: number[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const before = round % 2 === 0 ? await throughAgents(round) : undefined;
    const straight = await direct();
    const agent = before ?? (await throughAgents(round));
    ratios.push(agent.seconds / straight.seconds);
    const time = ({ seconds }: Pulled): string => `${seconds.toFixed(2)} s`.padStart(12);
    const { origin: sending, agent: between, containerd } = agent.cpu;
    console.log(
      values.json
        ? JSON.stringify({ round, direct: straight, agent })
        : `${String(round).padEnd(5)}${time(straight)}${time(agent)}` +
            `${(agent.seconds / straight.seconds).toFixed(3).padStart(11)}` +
            `${sending.toFixed(1).padStart(9)}${between.toFixed(1).padStart(8)}` +
            `${containerd.toFixed(1).padStart(12)}${(100 * agent.busy).toFixed(0).padStart(9)} %`,
    );
  }
  if (explained !== '') console.log(explained);
  const ratio = median(ratios);
  console.log(
    values.json ? JSON.stringify({ ratio, bar: BAR }) : `median ${ratio.toFixed(3)} × direct (bar ${BAR})`,
  );
} finally {
  await processes.close();
  await network.close();
  await rm(folder, { recursive: true, force: true });
}
