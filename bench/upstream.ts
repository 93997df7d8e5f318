/**
 * A cold storm from an upstream: N nodes, each behind a limited link of its own, want the same blob that
 * only the upstream has, which is behind such a link, too.
 *
 *     sudo node bench/upstream.ts [--nodes 4] [--rate 100mbit] [--size 128] [--rounds 3] [--flags '…'] [--json]
 *
 * Debian's docker-registry is the upstream; an origin and N agents run as their users run them. In each round, each time
 * with a blob of its own: one node's direct pull from the upstream (`direct`); the nodes pull through
 * their agents while the origin fetches (`shared`); and, to compare, the origin is made to fetch the whole
 * blob first, and the nodes pull when it has it (`whole first`, the sum of both times). Prints when the
 * last node had everything, that ÷ direct, the upstream's requests for the blob and what the origin sent ÷
 * the blob. Every node's sha256 is checked. Bar: shared at most 1.3 ×, one request.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { content, contentDigest } from '../test/support/content.ts';
import { sumMetric } from '../test/support/metrics-text.ts';
import { createNetwork, type Network } from './fanout/network.ts';
import { createProcesses, type Processes } from './fanout/processes.ts';
import { median } from './measure/median.ts';
import { takeBackMemory } from './measure/memory.ts';
import { numberOf, readOptions } from './measure/options.ts';

const values = readOptions(import.meta.filename, {
  nodes: { type: 'string', default: '4' },
  rate: { type: 'string', default: '100mbit' },
  size: { type: 'string', default: '128' },
  rounds: { type: 'string', default: '3' },
  flags: { type: 'string', default: '' },
  json: { type: 'boolean', default: false },
});
const nodes = numberOf('nodes', values.nodes, 1);
const size = numberOf('size', values.size, 1) * 1024 ** 2;
const rounds = numberOf('rounds', values.rounds, 1);
const flags = values.flags.split(' ').filter((flag) => flag !== '');
const bin = fileURLToPath(new URL('../bin/shoal', import.meta.url));
const curl = ['-sS', '--fail', '--max-time', '600'] as const;
const REPOSITORY = 'bench/blob';

interface Round {
  readonly direct: number;
  readonly shared: number;
  readonly wholeFirst: number;
  /** Requests for the blob's bytes at the upstream, and what the origin sent ÷ the blob, while shared. */
  readonly asked: number;
  readonly sent: number;
}

/** Namespaces: 0 the origin, then the nodes, last the upstream. */
interface Site {
  readonly network: Network;
  readonly processes: Processes;
  readonly upstream: { readonly url: string; readonly log: string };
  readonly origin: string;
}

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1000;
};

async function fetchText({ network, processes }: Site, node: number, ...args: string[]): Promise<string> {
  return processes.run(network.namespace(node), 'curl', [...curl, ...args]);
}

/** Pulls from a URL in a node, and checks what came. */
async function check({ network, processes }: Site, node: number, url: string, digest: string): Promise<void> {
  const child = processes.start(network.namespace(node), 'curl', [...curl, url]);
  const hash = createHash('sha256');
  if (!child.stdout) throw new Error('no output');
  for await (const chunk of child.stdout) hash.update(chunk as Buffer);
  const got = `sha256:${hash.digest('hex')}`;
  if (got !== digest) throw new Error(`node ${node} got ${got} instead of ${digest}`);
}

async function startUpstream(
  network: Network,
  processes: Processes,
  folder: string,
): Promise<Site['upstream']> {
  const address = `${network.address(nodes + 1)}:5000`;
  const config = path.join(folder, 'registry.yml');
  const log = path.join(folder, 'registry.log');
  const storage = { filesystem: { rootdirectory: path.join(folder, 'registry') } };
  await writeFile(
    config,
    // Its own log would be among our lines; what was asked of it is on the standard output.
    JSON.stringify({ version: 0.1, log: { level: 'error' }, storage, http: { addr: address } }),
  );
  const child = processes.start(network.namespace(nodes + 1), 'docker-registry', ['serve', config]);
  const handle = await open(log, 'w');
  child.stdout?.on('data', (chunk: Buffer) => void handle.appendFile(chunk));
  child.once('exit', () => void handle.close());
  await untilReady(network, processes, nodes + 1, `http://${address}/v2/`);
  return { url: `http://${address}`, log };
}

async function untilReady(network: Network, processes: Processes, node: number, url: string): Promise<void> {
  const retry = ['--retry', '100', '--retry-delay', '1', '--retry-connrefused', '-o', '/dev/null'];
  await processes.run(network.namespace(node), 'curl', [...curl, ...retry, url]);
}

/** Puts a blob of its own into the upstream, from its own namespace. */
async function push(site: Site, seed: number, folder: string): Promise<string> {
  const file = path.join(folder, `blob${seed}`);
  const handle = await open(file, 'w');
  for (const chunk of content(seed, size)) await handle.write(chunk);
  await handle.close();
  const digest = contentDigest(seed, size);
  const begun = await fetchText(
    site,
    nodes + 1,
    '-i',
    '-X',
    'POST',
    `${site.upstream.url}/v2/${REPOSITORY}/blobs/uploads/`,
  );
  const location = new URL(/^location: (\S+)/im.exec(begun)?.[1] ?? '', site.upstream.url);
  location.searchParams.set('digest', digest);
  await fetchText(site, nodes + 1, '-T', file, '-H', 'content-type: application/octet-stream', location.href);
  await rm(file);
  return digest;
}

/** Seconds until the last node has the blob through its agent. */
function pullAll(site: Site, digest: string): Promise<number> {
  const url = `http://127.0.0.1:5001/v2/${REPOSITORY}/blobs/${digest}?ns=hub.test`;
  return seconds(() =>
    Promise.all(Array.from({ length: nodes }, (_, index) => check(site, index + 1, url, digest))),
  );
}

async function runRound(site: Site, round: number, folder: string): Promise<Round> {
  const [one, two] = [await push(site, 100 + 2 * round, folder), await push(site, 101 + 2 * round, folder)];
  const sentBytes = async (): Promise<number> =>
    sumMetric(await fetchText(site, 0, `${site.origin}/metrics`), 'shoal_origin_blob_bytes_total', {
      direction: 'out',
    });

  const direct = await seconds(() =>
    check(site, 1, `${site.upstream.url}/v2/${REPOSITORY}/blobs/${one}`, one),
  );
  const sentBefore = await sentBytes();
  const shared = await pullAll(site, one);
  const sent = ((await sentBytes()) - sentBefore) / size;
  // The direct pull is one of them.
  const pattern = new RegExp(`"GET /v2/${REPOSITORY}/blobs/${one} HTTP/1.1" 20\\d`, 'g');
  const asked = (await readFile(site.upstream.log, 'utf8')).match(pattern)?.length ?? 0;

  const fetched = await seconds(() =>
    check(site, 0, `${site.origin}/v2/${REPOSITORY}/blobs/${two}?ns=hub.test`, two),
  );
  await fetchText(
    site,
    0,
    '-o',
    '/dev/null',
    `${site.origin}/v2/${REPOSITORY}/_shoal/torrents/${two}?ns=hub.test`,
  );
  const wholeFirst = fetched + (await pullAll(site, two));
  return { direct, shared, wholeFirst, asked: asked - 1, sent };
}

const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-upstream-'));
const network = await createNetwork(nodes + 2, values.rate);
const processes = createProcesses();
try {
  await takeBackMemory(folder, size * (nodes + 3));
  const upstream = await startUpstream(network, processes, folder);
  const address = network.address(0);
  const site: Site = { network, processes, upstream, origin: `http://${address}:5000` };
  processes.start(network.namespace(0), bin, [
    ...['origin', '--listen', `${address}:5000`, '--peer-listen', `${address}:4001`, '--admission', 'open'],
    ...['--bittorrent-listen', 'off', '--upstream', `hub.test=${upstream.url}`],
    ...['--data', path.join(folder, 'origin'), '--log-level', 'warn'],
  ]);
  await untilReady(network, processes, 0, `${site.origin}/readyz`);
  for (let node = 1; node <= nodes; node += 1) {
    processes.start(network.namespace(node), bin, [
      ...['agent', '--origin', site.origin, '--listen', '127.0.0.1:5001', '--admission', 'open'],
      ...['--peer-listen', `${network.address(node)}:4001`, '--bittorrent-listen', 'off'],
      ...['--data', path.join(folder, `agent${node}`), '--log-level', 'warn', ...flags],
    ]);
  }
  for (let node = 1; node <= nodes; node += 1)
    await untilReady(network, processes, node, 'http://127.0.0.1:5001/readyz');
  if (!values.json) {
    console.log(`${nodes} nodes at ${values.rate}, a blob of ${values.size} MiB that only the upstream has`);
    console.log(
      'round     direct     shared   ÷ direct   whole first   ÷ direct   requests   origin sent ÷ blob',
    );
  }
  const measured: Round[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const row = await runRound(site, round, folder);
    measured.push(row);
    const time = (value: number): string => `${value.toFixed(1)} s`;
    console.log(
      values.json
        ? JSON.stringify(row)
        : [
            String(round).padEnd(5),
            time(row.direct).padStart(11),
            time(row.shared).padStart(11),
            (row.shared / row.direct).toFixed(2).padStart(11),
            time(row.wholeFirst).padStart(14),
            (row.wholeFirst / row.direct).toFixed(2).padStart(11),
            String(row.asked).padStart(11),
            row.sent.toFixed(2).padStart(21),
          ].join(''),
    );
  }
  const ratio = (pick: (row: Round) => number): number =>
    median(measured.map((row) => pick(row) / row.direct));
  const shared = ratio((row) => row.shared);
  const wholeFirst = ratio((row) => row.wholeFirst);
  console.log(
    values.json
      ? JSON.stringify({ shared, wholeFirst, bar: 1.3 })
      : `median: shared ${shared.toFixed(2)} × direct (bar 1.3), whole first ${wholeFirst.toFixed(2)} ×`,
  );
} finally {
  await processes.close();
  await network.close();
  await rm(folder, { recursive: true, force: true });
}
