/**
 * What encryption costs between two members: 1 GiB from memory over one loopback connection, each
 * end a process of its own. No disk, no BitTorrent.
 *
 *     node bench/noise-or-tls.ts [--size MiB] [--rounds N] [--only tcp,shoal,noise,tls,node-tls]
 *
 * tcp: our plain transport. shoal: our libp2p transport (Noise handshake of the library, frames and
 * yamux of ours). noise, tls: js-libp2p as it comes, with @chainsafe/libp2p-noise or @libp2p/tls and
 * its yamux. node-tls: node:tls straight on the socket, without libp2p: what TLS could cost at best.
 * Prints MiB/s and processor seconds a GiB of both sides, median of the rounds, and ratios to shoal.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '1024' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: 'tcp,shoal,noise,tls,node-tls' },
  },
});

interface Line {
  readonly address?: string;
  readonly seconds?: number;
  readonly cpu?: number;
}

const DEADLINE_MS = 120_000;

/** A side of the pair, a child that says JSON lines. */
function side(args: readonly string[]): { next: () => Promise<Line>; stop: () => void } {
  const script = path.join(import.meta.dirname, 'noise-or-tls/side.ts');
  const child = spawn(process.execPath, ['--max-semi-space-size=4', script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  child.once('exit', () => clearTimeout(late));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async next() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`${args.join(' ')} ended early`);
      return JSON.parse(String(value)) as Line;
    },
    stop: () => void child.kill('SIGTERM'),
  };
}

interface Result {
  readonly mibPerSecond: number;
  readonly sender: number;
  readonly receiver: number;
}

async function run(variant: string, folder: string): Promise<Result> {
  const sender = side(['send', variant, values.size, folder]);
  const { address = '' } = await sender.next();
  const receiver = side(['receive', variant, values.size, folder, address]);
  const { seconds = Number.NaN, cpu = Number.NaN } = await receiver.next();
  sender.stop();
  const sent = await sender.next();
  const gibibytes = Number(values.size) / 1024;
  return {
    mibPerSecond: Number(values.size) / seconds,
    sender: (sent.cpu ?? Number.NaN) / gibibytes,
    receiver: cpu / gibibytes,
  };
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-noise-'));
try {
  execFileSync(
    'openssl',
    [
      ...[
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-subj',
        '/CN=bench',
      ],
      ...['-keyout', path.join(folder, 'key.pem'), '-out', path.join(folder, 'cert.pem'), '-days', '1'],
    ],
    { stdio: 'ignore' },
  );
  const variants = values.only.split(',');
  const results = new Map<string, Result[]>(variants.map((variant) => [variant, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    // They take turns, so that a noisy minute hits all of them.
    for (const variant of variants) results.get(variant)?.push(await run(variant, folder));
  }
  const rows = variants.map((variant) => {
    const runs = results.get(variant) ?? [];
    return {
      variant,
      rate: median(runs.map(({ mibPerSecond }) => mibPerSecond)),
      sender: median(runs.map(({ sender }) => sender)),
      receiver: median(runs.map(({ receiver }) => receiver)),
    };
  });
  const base = rows.find(({ variant }) => variant === 'shoal');
  process.stdout.write('variant    MiB/s  CPU s/GiB send / receive   × shoal: rate, CPU of both\n');
  for (const { variant, rate, sender, receiver } of rows) {
    const ratios =
      base === undefined
        ? ''
        : `${(rate / base.rate).toFixed(2)}, ${((sender + receiver) / (base.sender + base.receiver)).toFixed(2)}`;
    process.stdout.write(
      `${variant.padEnd(9)} ${rate.toFixed(0).padStart(6)}  ${sender.toFixed(2).padStart(6)} / ${receiver.toFixed(2).padEnd(6)}             ${ratios}\n`,
    );
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
