/**
 * Whether rate limits hold and are shared fairly: the real engine over loopback TCP, limited on one
 * side, nobody else in the way.
 *
 *     node bench/rate.ts [--rate MIB_PER_S] [--seconds N] [--peers 1,20] [--warm N] [--json] [--plot FILE.svg]
 *
 * upload: a seed with `--upload-rate` serves so many downloaders. download: a downloader with
 * `--download-rate` has so many seeds. Bytes are payload, counted by the side that is limited, over the
 * seconds after the warm-up. Prints what was measured ÷ the limit, and the least ÷ the largest share
 * of a peer. The downloaders do not know one another. A seed shows eight pieces at a time, so with more
 * peers than that the least share also shows whether all have their turns.
 * Bars: the limit within 5 %, the least share 0.8 of the largest. Blobs are made up as they are read and
 * each piece is checked by its hash.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { numberOf, readOptions } from './measure/options.ts';
import { drawRate, type RateRow } from './plot/figures.ts';

const values = readOptions(import.meta.filename, {
  rate: { type: 'string', default: '20' },
  seconds: { type: 'string', default: '20' },
  warm: { type: 'string', default: '3' },
  peers: { type: 'string', default: '1,20' },
  json: { type: 'boolean', default: false },
  plot: { type: 'string' },
});
const rate = numberOf('rate', values.rate, 0.01) * 1024 ** 2;
const seconds = numberOf('seconds', values.seconds, 1);
const warm = numberOf('warm', values.warm);
const PIECE = 2 * 1024 ** 2;
/** Long enough for everybody at this rate, of whole pieces of 2 MiB. */
const size = Math.max(4 * 1024 ** 3, Math.ceil(((seconds + warm) * rate * 2) / PIECE) * PIECE);
const TOLERANCE = 0.05;
const LEAST_SHARE = 0.8;

interface Counted {
  readonly atMs: number;
  readonly counts: readonly number[];
}

interface Member {
  readonly port: number;
  count(): Promise<Counted>;
}

const children = new Set<ChildProcess>();

async function member(...args: readonly string[]): Promise<Member> {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, 'rate/member.ts'), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.add(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`member ${args.join(' ')} ended early`);
    return JSON.parse(String(value));
  };
  const { port = 0 } = (await next()) as { port?: number };
  return {
    port,
    async count() {
      child.stdin.write('count\n');
      return (await next()) as Counted;
    },
  };
}

async function measure(direction: 'upload' | 'download', peers: number): Promise<RateRow> {
  try {
    const [limited, sharers] = await connect(direction, peers);
    await delay(warm * 1000);
    const before = await limited.count();
    const sharesBefore = await Promise.all(sharers.map((one) => one.count()));
    await delay(seconds * 1000);
    const after = await limited.count();
    const sharesAfter = await Promise.all(sharers.map((one) => one.count()));
    const sum = ({ counts }: Counted): number => counts.reduce((total, count) => total + count, 0);
    const measured = (sum(after) - sum(before)) / ((after.atMs - before.atMs) / 1000);
    const shares = sharesAfter.flatMap(({ counts }, index) =>
      counts.map((count, which) => count - (sharesBefore[index]?.counts[which] ?? 0)),
    );
    return {
      name: `${direction}, ${peers} ${peers === 1 ? 'peer' : 'peers'}`,
      mibPerSecond: measured / 1024 ** 2,
      ofLimit: measured / rate,
      fairness: Math.min(...shares) / Math.max(...shares),
    };
  } finally {
    await endAll();
  }
}

/** The member that is limited, and those that share. */
async function connect(
  direction: 'upload' | 'download',
  peers: number,
): Promise<readonly [Member, readonly Member[]]> {
  if (direction === 'upload') {
    const seed = await member('seed', String(size), String(rate));
    const downloads = await member('get', String(size), String(peers), String(seed.port));
    return [seed, [downloads]];
  }
  const seeds: Member[] = [];
  for (let index = 0; index < peers; index += 1) seeds.push(await member('seed', String(size)));
  const ports = seeds.map((seed) => seed.port).join(',');
  return [await member('get', String(size), '1', ports, String(rate)), seeds];
}

async function endAll(): Promise<void> {
  const ends = [...children].map(async (child) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  children.clear();
  await Promise.all(ends);
}

if (!values.json) {
  console.log(
    `limit ${values.rate} MiB/s over ${seconds} s; bars: within ${TOLERANCE * 100} %, shares ${LEAST_SHARE}`,
  );
  console.log('                      MiB/s   ÷ limit   within   least ÷ largest share   fair');
}
const rows: RateRow[] = [];
for (const direction of ['upload', 'download'] as const) {
  for (const peers of values.peers.split(',')) {
    const row = await measure(direction, numberOf('peers', peers, 1));
    rows.push(row);
    if (values.json) console.log(JSON.stringify(row));
    else {
      const within = Math.abs(row.ofLimit - 1) <= TOLERANCE ? 'yes' : 'NO';
      const fair = row.fairness >= LEAST_SHARE ? 'yes' : 'NO';
      console.log(
        `${row.name.padEnd(20)} ${row.mibPerSecond.toFixed(2).padStart(6)}   ${row.ofLimit.toFixed(3).padStart(7)}   ${within.padStart(6)}   ${row.fairness.toFixed(2).padStart(22)}   ${fair.padStart(4)}`,
      );
    }
  }
}
if (values.plot !== undefined) await writeFile(values.plot, drawRate(rows));
