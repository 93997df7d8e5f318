/** The network budget: schedules by the wall clock, and what counts before what. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { resolveOptions } from '#config';
import { agentConfig, agentOptions } from '#daemon/options';
import { createBudget, type Limits } from '../../../daemon/budget/budget.ts';
import { ratesAt, wallClock } from '../../../daemon/budget/schedule.ts';

const configured = (flags: Readonly<Record<string, readonly string[]>>) =>
  agentConfig(
    resolveOptions(agentOptions, { flags: { origin: ['http://127.0.0.1:5000'], ...flags } }).values,
  );
const scheduleOf = (...windows: readonly string[]) =>
  configured({ 'rates-schedule': windows }).schedule ?? [];
const MIB = 1024 ** 2;

t.test('what the options say', async (t) => {
  const config = configured({
    'upload-rate': ['10MiB/s'],
    'upload-rollout-rate': ['unlimited'],
    'download-rollout-rate': ['8Mbit/s'],
    'rates-schedule': [
      'from=22:00 to=6:00 days=fri-sun,wed upload=unlimited',
      'from=00:00 to=24:00 download=1MiB/s',
    ],
    'rates-time-zone': ['Europe/Berlin'],
    'max-connections': ['64'],
  });
  t.match(config, {
    uploadRateBytesPerSecond: 10 * MIB,
    rolloutUploadRate: 'unlimited',
    rolloutDownloadRate: 1_000_000,
    timeZone: 'Europe/Berlin',
    maxConnections: 64,
    schedule: [
      { from: 22 * 60, to: 6 * 60, days: ['fri', 'sat', 'sun', 'wed'], upload: 'unlimited' },
      { from: 0, to: 24 * 60, days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], download: MIB },
    ],
  });
  t.notOk('downloadRateBytesPerSecond' in config);
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ['rates-schedule', 'from=8:00 upload=1MiB/s', /times of day/],
    ['rates-schedule', 'from=24:00 to=8:00 upload=1MiB/s', /times of day/],
    ['rates-schedule', 'from=08:00 to=18:60 upload=1MiB/s', /times of day/],
    ['rates-schedule', 'from=08:00 to=18:00', /upload or download is missing/],
    ['rates-schedule', 'from=08:00 to=18:00 upload=fast', /upload: expected a rate/],
    ['rates-schedule', 'from=08:00 to=18:00 days=monday upload=1MiB/s', /days must be of mon/],
    ['rates-time-zone', 'Mars/Olympus', /a time zone such as/],
    ['max-connections', '3', /from 4 to 65000/],
  ];
  for (const [flag, value, reason] of refused) t.throws(() => configured({ [flag]: [value] }), reason, value);
});

t.test('a schedule in YAML', async (t) => {
  const file = path.join(t.testdir(), 'agent.yaml');
  await writeFile(
    file,
    `upload: {rate: 50MiB/s, rollout-rate: 200MiB/s}
rates:
  time-zone: Europe/Berlin
  schedule:
    - {from: 08:00, to: 18:00, days: [mon-fri], upload: 20MiB/s, download: 100MiB/s}
    - {from: 22:00, to: 06:00, upload: unlimited}
`,
  );
  const flags = { origin: ['http://127.0.0.1:5000'] };
  t.match(agentConfig(resolveOptions(agentOptions, { flags, file }).values), {
    uploadRateBytesPerSecond: 50 * MIB,
    rolloutUploadRate: 200 * MIB,
    schedule: [
      {
        from: 480,
        to: 1080,
        days: ['mon', 'tue', 'wed', 'thu', 'fri'],
        upload: 20 * MIB,
        download: 100 * MIB,
      },
      { from: 1320, to: 360, upload: 'unlimited' },
    ],
  });
});

t.test('windows over midnight belong to the day on which they begin', async (t) => {
  const windows = scheduleOf(
    'from=22:00 to=06:00 days=fri upload=2MiB/s',
    'from=05:00 to=05:00 upload=1MiB/s',
  );
  const at = (day: 'thu' | 'fri' | 'sat' | 'sun', hour: number) =>
    ratesAt(windows, { day, minute: hour * 60 }).upload;
  t.equal(at('fri', 21), MIB);
  t.equal(at('fri', 22), 2 * MIB);
  t.equal(at('sat', 5), 2 * MIB);
  t.equal(at('sat', 6), MIB);
  t.equal(at('sat', 23), MIB);
  t.equal(at('fri', 3), MIB, 'the night before is not in it');
});

t.test('hours are those of the wall clock, also where it is put forward and back', async (t) => {
  const windows = scheduleOf('from=08:00 to=18:00 upload=1MiB/s');
  const clock = wallClock('Europe/Berlin');
  const rate = (iso: string) => ratesAt(windows, clock(Date.parse(iso))).upload;
  for (const [offset, day] of [
    ['+01:00', '2026-03-28'],
    ['+02:00', '2026-03-29'],
    ['+02:00', '2026-10-24'],
    ['+01:00', '2026-10-25'],
  ]) {
    t.equal(rate(`${day}T07:59:59${offset}`), undefined, `${day} before`);
    t.equal(rate(`${day}T08:00:00${offset}`), MIB, `${day} begins`);
    t.equal(rate(`${day}T17:59:59${offset}`), MIB);
    t.equal(rate(`${day}T18:00:00${offset}`), undefined, `${day} ends`);
  }
  const night = scheduleOf('from=02:00 to=03:00 upload=1MiB/s');
  const minutes = (day: string) =>
    Array.from({ length: 24 * 60 }, (_, minute) => Date.parse(`${day}T00:00:00Z`) + minute * 60_000).filter(
      (at) => ratesAt(night, clock(at)).upload !== undefined,
    ).length;
  t.equal(minutes('2026-03-29'), 0, 'an hour that is skipped');
  t.equal(minutes('2026-10-25'), 120, 'an hour that comes twice');
  t.equal(minutes('2026-06-01'), 60);
});

t.test('an operator first, then a rollout, the schedule, the configuration', async (t) => {
  let now = Date.parse('2026-11-25T07:00:00Z');
  const config = {
    uploadRateBytesPerSecond: 10 * MIB,
    rolloutUploadRate: 50 * MIB,
    schedule: scheduleOf('from=08:00 to=18:00 upload=5MiB/s'),
  };
  const budget = createBudget({ config, now: () => now });
  t.teardown(budget.close);
  const told: Limits[] = [];
  budget.follow((limits) => told.push(limits));
  const look = () => {
    budget.set(budget.state);
    return budget.limits.upload;
  };
  t.strictSame(look(), { rate: 10 * MIB, because: 'configuration' });
  t.strictSame(budget.limits.download, { rate: 'unlimited', because: 'configuration' });
  now += 3_600_000;
  t.strictSame(look(), { rate: 5 * MIB, because: 'schedule' });
  budget.rollout({ until: now + 60_000 });
  t.strictSame(budget.limits.upload, { rate: 50 * MIB, because: 'rollout' });
  budget.rollout({ until: now + 60_000, upload: 2 * MIB, download: MIB });
  t.strictSame(budget.limits.upload, { rate: 2 * MIB, because: 'rollout' }, 'it may ask for less');
  t.strictSame(budget.limits.download, { rate: MIB, because: 'rollout' });
  budget.rollout({ until: now + 60_000, upload: 200 * MIB });
  t.strictSame(budget.limits.upload, { rate: 50 * MIB, because: 'rollout' }, 'and never for more');
  budget.set({ ...budget.state, upload: { rate: 'unlimited', until: now + 30_000 } });
  t.strictSame(budget.limits.upload, { rate: 'unlimited', because: 'set' });
  now += 30_000;
  t.strictSame(look(), { rate: 50 * MIB, because: 'rollout' });
  now += 30_000;
  t.strictSame(look(), { rate: 5 * MIB, because: 'schedule' });
  t.strictSame(budget.state.rollout, undefined);
  budget.configure({});
  t.strictSame(budget.limits.upload, { rate: 'unlimited', because: 'configuration' });
  t.strictSame(
    told.map(({ upload }) => upload.rate),
    [10 * MIB, 5 * MIB, 50 * MIB, 2 * MIB, 50 * MIB, 'unlimited', 50 * MIB, 5 * MIB, 'unlimited'],
    'followers are told of each change, once',
  );
});

t.test('what ends by itself is told when it ends', async (t) => {
  const budget = createBudget({ config: { uploadRateBytesPerSecond: MIB } });
  t.teardown(budget.close);
  budget.set({ upload: { rate: 3 * MIB, until: Date.now() + 20 } });
  const rates: unknown[] = [];
  const over = new Promise<void>((resolve) => {
    budget.follow(({ upload }) => {
      rates.push(upload.rate);
      if (upload.rate === MIB) resolve();
    });
  });
  // The budget's timer keeps nobody alive.
  const alive = setTimeout(() => undefined, 60_000);
  await over;
  clearTimeout(alive);
  t.strictSame(budget.limits.upload, { rate: MIB, because: 'configuration' });
  t.equal(rates.at(-1), MIB);
});
