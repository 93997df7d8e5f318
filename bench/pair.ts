/**
 * Throughput and processor time of one seed and one downloader on the loopback, each a process of
 * its own over real files: our engine on plain TCP and on libp2p (Noise and yamux), libtorrent, WebTorrent, and nginx to curl, in one run.
 *
 *     node bench/pair.ts [--size MiB] [--rounds N] [--only shoal,libp2p,libtorrent,webtorrent,nginx] [--json] [--plot FILE.svg]
 *
 * Prints MiB/s, processor seconds a GiB on both sides (from the moment both are ready), peak
 * memory, and the ratios to libtorrent. Each result's sha256 is checked. All write in place into a
 * file of zeros; what an engine does with it before it is ready (libtorrent checks it) is not counted.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { encodeMetainfo } from '#torrent';
import { freePort } from '../test/support/ports.ts';
import { readOptions } from './measure/options.ts';
import { type Described, describe, saveDescription, toMetainfo } from './pair/files.ts';
import { drawPairRates } from './plot/figures.ts';

const values = readOptions(import.meta.filename, {
  size: { type: 'string', default: '1024' },
  rounds: { type: 'string', default: '3' },
  only: { type: 'string', default: 'shoal,libp2p,libtorrent,webtorrent,nginx' },
  json: { type: 'boolean', default: false },
  plot: { type: 'string' },
  profile: { type: 'string' },
  folder: { type: 'string', default: os.tmpdir() },
});

interface Result {
  readonly seconds: number;
  readonly senderCpu: number;
  readonly receiverCpu: number;
  readonly senderRss: number;
  readonly receiverRss: number;
}

interface Line {
  readonly port?: number;
  readonly libp2p?: string;
  readonly seconds?: number;
  readonly cpu?: number;
  readonly rss?: number;
}

const here = import.meta.dirname;
const DEADLINE_MS = 180_000;

/** A child that says JSON lines. */
function side(command: string, args: readonly string[]): { child: ChildProcess; next: () => Promise<Line> } {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    async next() {
      const late = AbortSignal.timeout(DEADLINE_MS);
      const over = new Promise<never>((_, reject) => {
        late.addEventListener('abort', () => reject(new Error(`${command} ${args[0]} is too slow`)));
      });
      const { value, done } = await Promise.race([lines.next(), over]);
      if (done === true) throw new Error(`${command} ${args.join(' ')} ended early`);
      return JSON.parse(String(value)) as Line;
    },
  };
}

async function bittorrentPair(
  command: string,
  seedArgs: readonly string[],
  getArgs: readonly string[],
  speak: 'port' | 'libp2p' = 'port',
): Promise<Result> {
  const seed = side(command, seedArgs);
  const ready = await seed.next();
  const get = side(command, [...getArgs, String(ready[speak])]);
  try {
    const got = await get.next();
    seed.child.kill('SIGTERM');
    const seeded = await seed.next();
    return {
      seconds: got.seconds ?? Number.NaN,
      receiverCpu: got.cpu ?? Number.NaN,
      receiverRss: got.rss ?? Number.NaN,
      senderCpu: seeded.cpu ?? Number.NaN,
      senderRss: seeded.rss ?? Number.NaN,
    };
  } finally {
    // A side ends by itself, and then writes what it was told to (a profile, say).
    const patience = 5_000;
    await Promise.all([seed, get].map(({ child }) => ended(child, patience)));
  }
}

/** Waits for a child to end by itself, then makes it. */
async function ended(child: ChildProcess, patienceMs: number): Promise<void> {
  if (child.exitCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  await exit;
  clearTimeout(timer);
}

/** User and system seconds of a process (Linux, 100 ticks a second). */
async function cpuOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function nginxPair(folder: string, name: string, target: string): Promise<Result> {
  const port = await freePort();
  const conf = path.join(folder, 'nginx.conf');
  await writeFile(
    conf,
    `daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log; events {}
     http { access_log off; sendfile on; client_body_temp_path ${folder}/t1; proxy_temp_path ${folder}/t2;
     fastcgi_temp_path ${folder}/t3; uwsgi_temp_path ${folder}/t4; scgi_temp_path ${folder}/t5;
     server { listen 127.0.0.1:${port}; root ${folder}/seed; } }`,
  );
  const server = spawn('nginx', ['-c', conf, '-e', path.join(folder, 'nginx.log')], { stdio: 'ignore' });
  try {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const script = `curl -sf -o '${target}' -w '%{time_total}\\n' http://127.0.0.1:${port}/${name}; times`;
    const curl = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines: string[] = [];
    for await (const line of createInterface({ input: curl.stdout })) lines.push(line);
    const minutes = [...(lines[2] ?? '').matchAll(/(\d+)m([\d.]+)s/g)];
    const receiverCpu = minutes.reduce((sum, match) => sum + Number(match[1]) * 60 + Number(match[2]), 0);
    return {
      seconds: Number(lines[0]),
      receiverCpu,
      senderCpu: await cpuOf(server.pid ?? 0),
      senderRss: Number.NaN,
      receiverRss: Number.NaN,
    };
  } finally {
    server.kill('SIGTERM');
  }
}

async function makeFile(file: string, mebibytes: number): Promise<void> {
  const handle = await open(file, 'w');
  const chunk = Buffer.alloc(1024 * 1024);
  for (let at = 0; at < mebibytes; at++) {
    randomFillSync(chunk);
    await handle.write(chunk);
  }
  await handle.close();
}

/**
 * The file that a side downloads into, its pages in memory and clean. On a virtual machine a page that nobody
 * used for seconds is the hypervisor's again: taking it back was measured to cost eight times what writing
 * it does (2.0 s a GiB instead of 0.25), which is no engine's doing and differs from run to run.
 */
async function fillWithZeros(file: string, length: number): Promise<void> {
  const handle = await open(file, 'w');
  const chunk = Buffer.alloc(1024 * 1024);
  for (let at = 0; at < length; at += chunk.length) {
    await handle.write(chunk, 0, Math.min(chunk.length, length - at));
  }
  await handle.datasync();
  await handle.close();
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return `sha256:${hash.digest('hex')}`;
}

async function run(folder: string, described: Described, engine: string): Promise<Result> {
  const name = described.digest.replace('sha256:', '');
  const seedFolder = path.join(folder, 'seed');
  const getFolder = path.join(folder, 'get');
  await rm(getFolder, { recursive: true, force: true });
  await mkdir(getFolder);
  const target = path.join(getFolder, name);
  await fillWithZeros(target, described.length);
  const torrent = path.join(folder, 'blob.torrent');
  const description = path.join(folder, 'blob.json');
  const profile = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];
  const shoal = (speak: 'port' | 'libp2p'): Promise<Result> =>
    bittorrentPair(
      process.execPath,
      [...profile, path.join(here, 'pair/shoal.ts'), 'seed', path.join(seedFolder, name), description],
      [...profile, path.join(here, 'pair/shoal.ts'), 'get', target, description],
      speak,
    );
  const sides: Record<string, () => Promise<Result>> = {
    shoal: () => shoal('port'),
    libp2p: () => shoal('libp2p'),
    libtorrent: () =>
      bittorrentPair(
        '/usr/bin/python3',
        [path.join(here, 'pair/libtorrent-pair.py'), 'seed', seedFolder, torrent],
        [path.join(here, 'pair/libtorrent-pair.py'), 'get', getFolder, torrent],
      ),
    webtorrent: () =>
      bittorrentPair(
        process.execPath,
        [path.join(here, 'pair/webtorrent.ts'), 'seed', seedFolder, torrent],
        [path.join(here, 'pair/webtorrent.ts'), 'get', getFolder, torrent],
      ),
    nginx: () => nginxPair(folder, name, target),
  };
  const pair = sides[engine];
  if (pair === undefined) throw new Error(`unknown engine ${engine}`);
  const result = await pair();
  if ((await sha256(target)) !== described.digest) throw new Error(`${engine}: wrong bytes`);
  return result;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

const folder = await mkdtemp(path.join(values.folder, 'shoal-pair-'));
try {
  const mebibytes = Number(values.size);
  const gibibytes = mebibytes / 1024;
  await mkdir(path.join(folder, 'seed'));
  const raw = path.join(folder, 'blob');
  await makeFile(raw, mebibytes);
  const described = await describe(raw);
  const metainfo = toMetainfo(described);
  const { rename } = await import('node:fs/promises');
  await rename(raw, path.join(folder, 'seed', described.digest.replace('sha256:', '')));
  await saveDescription(described, path.join(folder, 'blob.json'));
  await writeFile(
    path.join(folder, 'blob.torrent'),
    encodeMetainfo(metainfo, { announce: [], webSeeds: [], peers: [] }),
  );
  const engines = values.only.split(',');
  const results = new Map<string, Result[]>(engines.map((engine) => [engine, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    // Engines take turns, so that a noisy minute hits all of them.
    for (const engine of engines) results.get(engine)?.push(await run(folder, described, engine));
  }
  const rows = engines.map((engine) => {
    const runs = results.get(engine) ?? [];
    return {
      engine,
      mibPerSecond: mebibytes / median(runs.map((one) => one.seconds)),
      senderCpuPerGib: median(runs.map((one) => one.senderCpu)) / gibibytes,
      receiverCpuPerGib: median(runs.map((one) => one.receiverCpu)) / gibibytes,
      senderRssMib: median(runs.map((one) => one.senderRss)) / 1024,
      receiverRssMib: median(runs.map((one) => one.receiverRss)) / 1024,
    };
  });
  if (values.plot !== undefined) await writeFile(values.plot, drawPairRates(rows));
  const base = rows.find((row) => row.engine === 'libtorrent');
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ mebibytes, rows })}\n`);
  } else {
    process.stdout.write(
      'engine       MiB/s  CPU s/GiB send / receive  peak RSS MiB   × libtorrent: rate, CPU send, CPU receive\n',
    );
    for (const row of rows) {
      const ratio = (value: number, of: number | undefined): string =>
        of === undefined ? '' : (value / of).toFixed(2);
      process.stdout.write(
        `${row.engine.padEnd(11)} ${row.mibPerSecond.toFixed(0).padStart(6)}  ${row.senderCpuPerGib.toFixed(2).padStart(6)} / ${row.receiverCpuPerGib.toFixed(2).padEnd(6)}         ${row.senderRssMib.toFixed(0).padStart(4)} / ${row.receiverRssMib.toFixed(0).padEnd(4)}    ${ratio(row.mibPerSecond, base?.mibPerSecond)}, ${ratio(row.senderCpuPerGib, base?.senderCpuPerGib)}, ${ratio(row.receiverCpuPerGib, base?.receiverCpuPerGib)}\n`,
      );
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
