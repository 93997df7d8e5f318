/**
 * The origin as a registry against Debian's docker-registry, on the same disk, in one run. See HELP.
 * Servers take turns in every round, so that a noisy minute hits all of them; each figure is the median of
 * its rounds, and each ratio the median of the ratios within a round.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { median } from './measure/median.ts';
import { takeBackMemory } from './measure/memory.ts';
import { drawRegistry } from './plot/figures.ts';
import { connect } from './registry/connection.ts';
import { type Server, startDockerRegistry, startNginx, startOrigin } from './registry/servers.ts';
import { generate, makeDifferent, pull, push, run, writeRandom } from './registry/work.ts';

const HELP = `usage: node bench/registry.ts [--rounds N] [--only pull1,pull8,push,small,head,get] [--size MiB]
         [--pushes N] [--seconds S] [--folder DIR] [--profile DIR] [--json] [--plot FILE.svg]

pull1, pull8  a blob (--size, 1024 MiB) from the page cache to 1 and to 8 curl processes at once
push          the same amount, new bytes each time: POST, PATCH by curl, PUT; until the 201
small         --pushes (2000) images of one 4 KiB blob: POST, PUT, PUT of the manifest, by 8 connections
head, get     requests for manifests by tag a second, --seconds (5) long, by 16 connections

Shoal and docker-registry (filesystem driver, Debian's configuration) run as their users run them, nginx
with sendfile. Both registries call fsync before a 201; docker-registry syncs no folder. The load comes from
processes of their own (curl; bench/registry/load.ts) over keep-alive connections.
Needs Debian's docker-registry, nginx and curl. --folder says which disk (default ${os.tmpdir()}).
--profile keeps a processor profile of the origin.
`;
const MEASUREMENTS = ['pull1', 'pull8', 'push', 'small', 'head', 'get'] as const;
type Measurement = (typeof MEASUREMENTS)[number];
const SERVERS = ['shoal', 'docker-registry', 'nginx'] as const;
type ServerName = (typeof SERVERS)[number];
/** The least ratio that the origin should reach. */
const BARS: readonly (readonly [Measurement, ServerName, number])[] = [
  ['pull1', 'docker-registry', 1],
  ['pull1', 'nginx', 0.9],
  ['pull8', 'docker-registry', 1],
  ['pull8', 'nginx', 0.9],
  ['push', 'docker-registry', 1],
  ['small', 'docker-registry', 1],
  ['head', 'docker-registry', 1],
  ['get', 'docker-registry', 1],
];
const UNITS = {
  pull1: 'MiB/s',
  pull8: 'MiB/s',
  push: 'MiB/s',
  small: 'pushes/s',
  head: 'requests/s',
  get: 'requests/s',
} as const;
const REPOSITORY = 'bench/large';
const PUSH_CONNECTIONS = 8;
const MANIFEST_CONNECTIONS = 16;
/** Manifests that are asked for in turn. */
const MANIFESTS = 200;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: MEASUREMENTS.join(',') },
    size: { type: 'string', default: '1024' },
    pushes: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '5' },
    folder: { type: 'string', default: os.tmpdir() },
    profile: { type: 'string' },
    json: { type: 'boolean', default: false },
    plot: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const only = values.only.split(',') as Measurement[];
const unknown = only.find((name) => !MEASUREMENTS.includes(name));
if (unknown !== undefined) {
  process.stderr.write(`there is no measurement '${unknown}'; there are ${MEASUREMENTS.join(', ')}\n`);
  process.exit(2);
}
const mebibytes = Number(values.size);
const bytes = mebibytes * 1024 * 1024;

interface Bench {
  readonly folder: string;
  readonly servers: Readonly<Record<ServerName, Server>>;
  /** The file that is pulled and, changed each time, pushed. */
  readonly file: string;
  readonly pulled: string;
}

const digestOf = async (file: string): Promise<string> =>
  `sha256:${(await run('sha256sum', [file])).slice(0, 64)}`;
const blobUrl = (server: Server, digest: string): string =>
  `http://127.0.0.1:${server.port}/v2/${REPOSITORY}/blobs/${digest}`;

/** One measurement of one server, more is better; undefined when the server does not do such a thing. */
async function measure(bench: Bench, what: Measurement, name: ServerName): Promise<number | undefined> {
  const server = bench.servers[name];
  if (what === 'pull1' || what === 'pull8') {
    const clients = what === 'pull1' ? 1 : 8;
    const url =
      name === 'nginx'
        ? `http://127.0.0.1:${server.port}/${path.basename(bench.file)}`
        : blobUrl(server, bench.pulled);
    return (mebibytes * clients) / (await pull(url, clients, bytes));
  }
  if (name === 'nginx') return undefined;
  const { port } = server;
  if (what === 'push') return pushRate(bench, port);
  if (what === 'small') {
    const pushes = Number(values.pushes);
    const seed = `${name}-${randomUUID()}`;
    const { seconds } = await generate({
      ...{ kind: 'pushes', port, pushes, connections: PUSH_CONNECTIONS, seed },
    });
    return pushes / seconds;
  }
  const targets = Array.from(
    { length: MANIFESTS },
    (_, at) => `/v2/bench/small${at % 16}/manifests/bench-${at}`,
  );
  const { seconds, done } = await generate({
    ...{
      kind: 'manifests',
      port,
      targets,
      connections: MANIFEST_CONNECTIONS,
      seconds: Number(values.seconds),
    },
    method: what === 'head' ? 'HEAD' : 'GET',
  });
  return done / seconds;
}

async function pushRate({ folder, file }: Bench, port: number): Promise<number> {
  const pushed = path.join(folder, 'pushed');
  await run('cp', ['--reflink=never', file, pushed]);
  await makeDifferent(pushed);
  const digest = await digestOf(pushed);
  await takeBackMemory(folder, bytes);
  const seconds = await push(port, 'bench/pushed', pushed, digest);
  const connection = await connect(port);
  await connection.request('DELETE', `/v2/bench/pushed/blobs/${digest}`);
  connection.close();
  return mebibytes / seconds;
}

/** The origin hashes the pieces of what was pushed in the background; that must not slow whoever comes next. */
async function untilIdle(port: number): Promise<void> {
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/status`);
    const status = (await answer.json()) as { torrents: { hashing: number } };
    if (status.torrents.hashing === 0) return;
    await delay(20);
  }
}

/** Fills both registries: the large blob, and the manifests that are asked for. */
async function prepare(folder: string, servers: Bench['servers']): Promise<Bench> {
  const file = path.join(folder, 'blob');
  await writeRandom(file, mebibytes);
  const pulled = await digestOf(file);
  for (const name of ['shoal', 'docker-registry'] as const) {
    const { port } = servers[name];
    await push(port, REPOSITORY, file, pulled);
    const got = path.join(folder, 'got');
    await run('curl', ['-sf', '-o', got, blobUrl(servers[name], pulled)]);
    if ((await digestOf(got)) !== pulled) throw new Error(`${name} sent wrong bytes`);
    await rm(got);
    await generate({ ...{ kind: 'pushes', port, pushes: MANIFESTS, connections: 4, seed: 'bench' } });
  }
  await untilIdle(servers.shoal.port);
  return { folder, servers, file, pulled };
}

type Results = ReadonlyMap<Measurement, ReadonlyMap<ServerName, readonly number[]>>;

async function measureAll(bench: Bench): Promise<Results> {
  const results = new Map(only.map((what) => [what, new Map<ServerName, number[]>()]));
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const what of only) {
      // Who goes first changes from round to round.
      const order = round % 2 === 0 ? SERVERS : SERVERS.toReversed();
      for (const name of order) {
        const rate = await measure(bench, what, name);
        await untilIdle(bench.servers.shoal.port);
        if (rate === undefined) continue;
        const rates = results.get(what);
        rates?.set(name, [...(rates.get(name) ?? []), rate]);
        process.stderr.write(`${what} ${name} ${rate.toFixed(0)} ${UNITS[what]}\n`);
      }
    }
  }
  return results;
}

function ratioTo(results: Results, what: Measurement, peer: ServerName): number {
  const ours = results.get(what)?.get('shoal') ?? [];
  const theirs = results.get(what)?.get(peer) ?? [];
  return median(ours.map((rate, round) => rate / (theirs[round] ?? Number.NaN)));
}

function table(results: Results): string {
  const lines = ['measurement                     shoal  docker-registry       nginx'];
  for (const what of only) {
    const cells = SERVERS.map((name) => median(results.get(what)?.get(name) ?? []));
    const shown = cells.map((cell) => (Number.isNaN(cell) ? '' : cell.toFixed(0)).padStart(12));
    lines.push(`${what.padEnd(8)}${UNITS[what].padEnd(12)}${shown.join('    ')}`);
  }
  lines.push('', 'ratio of shoal to             ratio   bar');
  for (const [what, peer, bar] of BARS) {
    if (!only.includes(what)) continue;
    const ratio = ratioTo(results, what, peer);
    lines.push(
      `${what.padEnd(8)}${peer.padEnd(20)}${ratio.toFixed(2).padStart(7)}  ${bar.toFixed(1)}  ${ratio >= bar ? 'met' : 'MISSED'}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-registry-'));
const started: Server[] = [];
try {
  const starting = async (server: Promise<Server>): Promise<Server> => {
    started.push(await server);
    return server;
  };
  const node = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];
  const servers = {
    shoal: await starting(startOrigin(folder, node)),
    'docker-registry': await starting(startDockerRegistry(folder)),
    nginx: await starting(startNginx(folder, folder)),
  };
  const results = await measureAll(await prepare(folder, servers));
  const rows = only.map((what) => ({
    what,
    unit: UNITS[what],
    rates: Object.fromEntries(
      SERVERS.map((name) => [name, median(results.get(what)?.get(name) ?? [])]).filter(
        ([, rate]) => !Number.isNaN(rate),
      ),
    ) as Partial<Record<ServerName, number>>,
  }));
  const ratios = BARS.filter(([what]) => only.includes(what)).map(([what, peer, bar]) => ({
    ...{ what, peer, bar },
    ratio: ratioTo(results, what, peer),
  }));
  if (values.plot !== undefined) await writeFile(values.plot, drawRegistry(ratios));
  process.stdout.write(values.json ? `${JSON.stringify({ mebibytes, rows, ratios })}\n` : table(results));
} finally {
  await Promise.all(started.map((server) => server.stop()));
  await rm(folder, { recursive: true, force: true });
}
