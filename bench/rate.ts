/**
 * Whether rate limits hold, are shared fairly, and change at once: the real engine over the loopback, limited
 * on one side, nobody else in the way.
 *
 *     node bench/rate.ts [--transport tcp|libp2p] [--rate MIB_PER_S] [--seconds N] [--peers 1,20] [--warm N]
 *                        [--json] [--plot FILE.svg]
 *
 * upload: a seed with `--upload-rate` serves so many downloaders. download: a downloader with
 * `--download-rate` has so many seeds. Bytes are payload, counted by the side that is limited, over the
 * seconds after the warm-up. Prints what was measured ÷ the limit, and the least ÷ the largest share
 * of a peer. The downloaders do not know one another. A seed shows eight pieces at a time, so with more
 * peers than that the least share also shows whether all have their turns.
 * Then the limit is set to a quarter while all runs, and back: how long after that a whole second is within 5 % of
 * the new limit, and stays so.
 * Bars: the limit within 5 %, the least share 0.8 of the largest, a change within a second. Blobs are made up as they are read and
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
  transport: { type: 'string', default: 'tcp' },
  rate: { type: 'string', default: '20' },
  seconds: { type: 'string', default: '30' },
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
  /** Where a seed is reached. */
  readonly seed: string;
  count(): Promise<Counted>;
  /** Another rate from now on; answers with what was moved until then. */
  limit(bytesPerSecond: number): Promise<Counted>;
}

const children = new Set<ChildProcess>();

async function member(...args: readonly string[]): Promise<Member> {
  const child = spawn(
    process.execPath,
    [path.join(import.meta.dirname, 'rate/member.ts'), values.transport, ...args],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  children.add(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`member ${args.join(' ')} ended early`);
    return JSON.parse(String(value));
  };
  const ask = async (line: string): Promise<Counted> => {
    child.stdin.write(`${line}\n`);
    return (await next()) as Counted;
  };
  const { seed = '' } = (await next()) as { seed?: string };
  return {
    seed,
    count: () => ask('count'),
    limit: (bytesPerSecond) => ask(`rate ${bytesPerSecond}`),
  };
}

interface Row extends RateRow {
  /** Milliseconds until a lower and a higher limit held; undefined: they never did. */
  readonly loweredMs: number | undefined;
  readonly raisedMs: number | undefined;
}

const SAMPLE_MS = 50;
const CHANGE_SECONDS = 5;

const sum = ({ counts }: Counted): number => counts.reduce((total, count) => total + count, 0);
const speed = (from: Counted, to: Counted): number => (sum(to) - sum(from)) / ((to.atMs - from.atMs) / 1000);

/** How long after a change of the limit the seconds that begin then, each of them, keep to the new one. */
async function change(member: Member, bytesPerSecond: number): Promise<number | undefined> {
  const samples = [await member.limit(bytesPerSecond)];
  const [begun] = samples;
  if (begun === undefined) return undefined;
  for (let last = begun; last.atMs - begun.atMs < CHANGE_SECONDS * 1000; ) {
    await delay(SAMPLE_MS);
    last = await member.count();
    samples.push(last);
  }
  let holdsFrom: number | undefined;
  for (const from of samples.toReversed()) {
    const to = samples.find((sample) => sample.atMs - from.atMs >= 1000);
    if (to === undefined) continue;
    if (Math.abs(speed(from, to) / bytesPerSecond - 1) > TOLERANCE) break;
    holdsFrom = from.atMs - begun.atMs;
  }
  return holdsFrom;
}

async function measure(direction: 'upload' | 'download', peers: number): Promise<Row> {
  try {
    const [limited, sharers] = await connect(direction, peers);
    await delay(warm * 1000);
    const before = await limited.count();
    const sharesBefore = await Promise.all(sharers.map((one) => one.count()));
    await delay(seconds * 1000);
    const after = await limited.count();
    const sharesAfter = await Promise.all(sharers.map((one) => one.count()));
    const measured = speed(before, after);
    const loweredMs = await change(limited, rate / 4);
    const raisedMs = await change(limited, rate);
    const shares = sharesAfter.flatMap(({ counts }, index) =>
      counts.map((count, which) => count - (sharesBefore[index]?.counts[which] ?? 0)),
    );
    return {
      name: `${direction}, ${peers} ${peers === 1 ? 'peer' : 'peers'}`,
      mibPerSecond: measured / 1024 ** 2,
      ofLimit: measured / rate,
      fairness: Math.min(...shares) / Math.max(...shares),
      loweredMs,
      raisedMs,
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
    const downloads = await member('get', String(size), String(peers), seed.seed);
    return [seed, [downloads]];
  }
  const seeds: Member[] = [];
  for (let index = 0; index < peers; index += 1) seeds.push(await member('seed', String(size)));
  const ports = seeds.map((seed) => seed.seed).join(',');
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
    `${values.transport}, limit ${values.rate} MiB/s over ${seconds} s; bars: within ${TOLERANCE * 100} %, shares ${LEAST_SHARE}, changes 1000 ms`,
  );
  console.log(
    '                      MiB/s   ÷ limit   within   least ÷ largest share   fair   ÷ 4 holds after   × 4 holds after',
  );
}
const shownMs = (ms: number | undefined): string =>
  (ms === undefined ? 'NEVER' : `${ms.toFixed(0)} ms`).padStart(15);
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
        `${row.name.padEnd(20)} ${row.mibPerSecond.toFixed(2).padStart(6)}   ${row.ofLimit.toFixed(3).padStart(7)}   ${within.padStart(6)}   ${row.fairness.toFixed(2).padStart(22)}   ${fair.padStart(4)}   ${shownMs(row.loweredMs)}   ${shownMs(row.raisedMs)}`,
      );
    }
  }
}
if (values.plot !== undefined) await writeFile(values.plot, drawRate(rows));
