/**
 * A cold storm from an upstream: N nodes, each behind a limited link of its own, want the same image that
 * only the upstream has, which is behind such a link, too.
 *
 *     sudo node bench/upstream.ts [--nodes 4] [--rate 100mbit] [--size MiB] [--layers 3] [--rounds 3] [--password]
 *                                 [--client containerd|curl] [--no-unpack] [--no-whole-first]
 *                                 [--upstream-rate 100mbit] [--stagger SECONDS] [--flags '…'] [--json]
 *
 * Debian's docker-registry is the upstream, open or, with --password, for who logs in: the origin's configuration has the
 * log-in then, and the direct pull gives it itself. An origin and N agents run as their users run them. In each round, each
 * time with an image of its own: one node's direct pull from the upstream (`direct`); the nodes pull through
 * their agents while the origin fetches (`shared`); and, to compare, the origin is made to fetch the
 * whole image first, and the nodes pull when it has it (`whole first`, the sum of both times). Prints when the
 * last node had everything, that ÷ direct, the most requests that the upstream had for one of the blobs, and what
 * the origin sent ÷ the bytes. `containerd` is a real one in each node, with the agent as the mirror `_default`
 * (`ctr images pull`, unpacked unless --no-unpack: all nodes of this one machine do it on the same processors).
 * `curl` takes the manifest and then all layers at once. --stagger starts the nodes one after another; the times are from the
 * start of the first. Every sha256 is checked. Bar: shared at most 1.3 ×, one request.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sumMetric } from '../test/support/metrics-text.ts';
import { createNetwork } from './fanout/network.ts';
import { createProcesses } from './fanout/processes.ts';
import { median } from './measure/median.ts';
import { takeBackMemory } from './measure/memory.ts';
import { numberOf, readOptions } from './measure/options.ts';
import { type Client, containerdClient, curlClient, type Source } from './upstream/clients.ts';
import { type Image, startUpstream } from './upstream/registry.ts';

const values = readOptions(import.meta.filename, {
  nodes: { type: 'string', default: '4' },
  rate: { type: 'string', default: '100mbit' },
  size: { type: 'string', default: '128' },
  layers: { type: 'string', default: '3' },
  rounds: { type: 'string', default: '3' },
  password: { type: 'boolean', default: false },
  client: { type: 'string', default: 'containerd' },
  'no-unpack': { type: 'boolean', default: false },
  'no-whole-first': { type: 'boolean', default: false },
  'upstream-rate': { type: 'string' },
  stagger: { type: 'string', default: '0' },
  flags: { type: 'string', default: '' },
  json: { type: 'boolean', default: false },
});
const nodes = numberOf('nodes', values.nodes, 1);
const size = numberOf('size', values.size, 1) * 1024 ** 2;
const layers = numberOf('layers', values.layers, 1);
const rounds = numberOf('rounds', values.rounds, 1);
const staggerMs = 1000 * numberOf('stagger', values.stagger);
const flags = values.flags.split(' ').filter((flag) => flag !== '');
const makeClient = { curl: curlClient, containerd: containerdClient }[values.client];
if (makeClient === undefined) {
  console.error(`--client ${values.client}: there are curl and containerd`);
  process.exit(2);
}
const bin = fileURLToPath(new URL('../bin/shoal', import.meta.url));
const AGENT = '127.0.0.1:5001';
const login = values.password ? { name: 'puller', password: 'of the upstream' } : undefined;

interface Round {
  readonly direct: number;
  readonly shared: number;
  /** Undefined: not measured. */
  readonly wholeFirst: number | undefined;
  /** Most requests for the bytes of one blob at the upstream, and what the origin sent ÷ the bytes, while shared. */
  readonly asked: number;
  readonly sent: number;
}

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1000;
};

const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-upstream-'));
/** 0 is the origin, then the nodes, last the upstream. */
const network = await createNetwork(nodes + 2, values.rate);
const processes = createProcesses();
const curl = (node: number, ...args: string[]): Promise<string> =>
  processes.run(network.namespace(node), 'curl', ['-sS', '--fail', '--max-time', '600', ...args]);
const untilReady = (node: number, url: string): Promise<void> =>
  processes.untilReady(network.namespace(node), url);

async function startShoal(upstream: string): Promise<string> {
  const address = network.address(0);
  const origin = `http://${address}:5000`;
  const data = (name: string): string[] => ['--data', path.join(folder, name), '--log-level', 'warn'];
  const passwordFile = path.join(folder, 'upstream.password');
  if (login) await writeFile(passwordFile, login.password);
  // Everybody may have it by this origin, which has no access control here.
  const fields = login ? ` username=${login.name} password-file=${passwordFile} public=true` : '';
  processes.start(network.namespace(0), bin, [
    ...['origin', '--listen', `${address}:5000`, '--peer-listen', `${address}:4001`, '--admission', 'open'],
    ...['--bittorrent-listen', 'off', '--upstream', `hub.test=${upstream}${fields}`, ...data('origin')],
  ]);
  await untilReady(0, `${origin}/readyz`);
  for (let node = 1; node <= nodes; node += 1) {
    processes.start(network.namespace(node), bin, [
      ...['agent', '--origin', origin, '--listen', AGENT, '--admission', 'open', ...flags],
      ...['--peer-listen', `${network.address(node)}:4001`, '--bittorrent-listen', 'off'],
      ...data(`agent${node}`),
    ]);
  }
  for (let node = 1; node <= nodes; node += 1) await untilReady(node, `http://${AGENT}/readyz`);
  return origin;
}

try {
  if (values['upstream-rate'] !== undefined) await network.setRate(nodes + 1, values['upstream-rate']);
  await takeBackMemory(folder, 3 * size * (nodes + 3));
  const upstream = await startUpstream({ network, processes, node: nodes + 1, folder, login });
  const origin = await startShoal(upstream.url);
  const clients: Client[] = [];
  const unpack = !values['no-unpack'];
  for (let node = 1; node <= nodes; node += 1) {
    clients.push(await makeClient({ processes, namespace: network.namespace(node), folder, node, unpack }));
  }
  const agent = { url: `http://${AGENT}`, name: 'hub.test' };
  const pullAll = (image: Image): Promise<number> =>
    seconds(() =>
      Promise.all(
        clients.map(async (client, index) => {
          await delay(index * staggerMs);
          await client.pull(image, agent);
        }),
      ),
    );
  const sentBytes = async (): Promise<number> =>
    sumMetric(await curl(0, `${origin}/metrics`), 'shoal_origin_blob_bytes_total', { direction: 'out' });

  const forgetAll = async (image: Image, source: Source): Promise<void> => {
    await Promise.all(clients.map((client) => client.forget(image, source)));
  };

  /** The origin gets all of it before anybody else asks. */
  async function wholeFirst(image: Image): Promise<number> {
    const base = `${origin}/v2/${image.repository}`;
    const get = (where: string): Promise<string> =>
      curl(0, '-o', '/dev/null', `${base}/${where}?ns=hub.test`);
    const fetched = await seconds(() => Promise.all(image.layers.map((digest) => get(`blobs/${digest}`))));
    // The answer comes when the pieces are hashed.
    for (const digest of image.layers) await get(`_shoal/torrents/${digest}`);
    const pulled = await pullAll(image);
    await forgetAll(image, agent);
    return fetched + pulled;
  }

  const runRound = async (round: number): Promise<Round> => {
    const push = (which: number): Promise<Image> =>
      upstream.push({ seed: 1000 * round + 100 * which, layers, layerBytes: Math.floor(size / layers) });
    const [one, two] = [await push(1), await push(2)];
    const three = values['no-whole-first'] ? undefined : await push(3);
    const straight = {
      ...{ url: upstream.url, name: new URL(upstream.url).host },
      ...(login && { user: `${login.name}:${login.password}` }),
    };
    const direct = await seconds(async () => clients[0]?.pull(one, straight));
    await clients[0]?.forget(one, straight);
    const before = await sentBytes();
    const shared = await pullAll(two);
    const sent = ((await sentBytes()) - before) / size;
    await forgetAll(two, agent);
    const asked = await upstream.mostRequests(two);
    return { direct, shared, wholeFirst: three && (await wholeFirst(three)), asked, sent };
  };

  if (!values.json) {
    console.log(
      `${nodes} nodes at ${values.rate}, ${layers} layer(s) of ${values.size} MiB in all that only the upstream has, ` +
        `${login ? 'with a password' : 'open'}, by ${values.client}${values['no-unpack'] ? ', not unpacked' : ''}`,
    );
    console.log(
      'round     direct     shared   ÷ direct   whole first   ÷ direct   requests   origin sent ÷ bytes',
    );
  }
  const measured: Round[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const row = await runRound(round);
    measured.push(row);
    const time = (value: number | undefined): string => (value === undefined ? '-' : `${value.toFixed(1)} s`);
    const cells = [
      String(round).padEnd(5),
      time(row.direct).padStart(11),
      time(row.shared).padStart(11),
      (row.shared / row.direct).toFixed(2).padStart(11),
      time(row.wholeFirst).padStart(14),
      ((row.wholeFirst ?? Number.NaN) / row.direct).toFixed(2).padStart(11),
      String(row.asked).padStart(11),
      row.sent.toFixed(2).padStart(22),
    ];
    console.log(values.json ? JSON.stringify(row) : cells.join(''));
  }
  const ratio = (pick: (row: Round) => number | undefined): number =>
    median(measured.map((row) => (pick(row) ?? Number.NaN) / row.direct));
  const shared = ratio((row) => row.shared);
  const whole = ratio((row) => row.wholeFirst);
  console.log(
    values.json
      ? JSON.stringify({ shared, wholeFirst: whole, bar: 1.3 })
      : `median: shared ${shared.toFixed(2)} × direct (bar 1.3), whole first ${whole.toFixed(2)} ×`,
  );
} finally {
  await processes.close();
  await network.close();
  await rm(folder, { recursive: true, force: true });
}
