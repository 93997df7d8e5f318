/** Accounts of bytes: the agents' by image and day, added up at the origin, beside what the origin itself sent. */
import t from 'tap';
import { formatBasic } from '#auth';
import { openDatabase } from '#database';
import type { Digest } from '#oci';
import { type AccountRow, dayOf, emptyAccount, MAX_ACCOUNT_ROWS, MAX_IMAGES_A_DAY } from '#orders';
import { openLedger as openAgentLedger } from '../../daemon/accounts/ledger.ts';
import { toRepository } from '../../daemon/repository.ts';
import { openLedger } from '../../origin/accounts/ledger.ts';
import { accessOf } from '../support/access.ts';
import {
  agentHere,
  makeFolder,
  originHere,
  pull,
  pushImage,
  someBytes,
  until,
} from '../support/in-process.ts';
import { log } from '../support/tracker.ts';

interface Line {
  readonly served: Readonly<Record<'cache' | 'swarm' | 'origin', number>>;
  readonly fetched: Readonly<Record<'peer' | 'originSwarm' | 'originHttp', number>>;
  readonly blobs: number;
  readonly egressRatio: number | null;
  readonly savedSeconds: number | null;
  readonly savedBytes: number;
}
interface Report {
  readonly total: Line & { readonly origin: { readonly http: number; readonly swarm: number } | null };
  readonly days: readonly (Line & { readonly day: string })[];
  readonly images: readonly (Line & {
    readonly repository: string | null;
    readonly digest: string | null;
    readonly tags: readonly string[];
    readonly nodes: number;
  })[];
}

const nodeId = (letter: string): string => `12D3KooW${letter.repeat(44)}`;

async function reportOf(url: string, query = ''): Promise<Report> {
  const answer = await fetch(`${url}/api/v1/report${query}`);
  if (answer.status !== 200) throw new Error(await answer.text());
  return (await answer.json()) as Report;
}

const allOf = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, value) => sum + value, 0);

t.test('pulls of an image by two agents, by source, and the same bytes at the origin', async (t) => {
  const origin = await originHere(t);
  const size = 5_000_000;
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(size), someBytes(3_000)]);
  const blobs = [...image.layers, image.config];
  const first = await agentHere(t, [origin.url]);
  const second = await agentHere(t, [origin.url]);
  for (const agent of [first, second, second]) {
    const { status } = await pull(`${agent.url}/v2/team/app/manifests/v1?ns=registry.example`);
    t.equal(status, 200);
    for (const digest of blobs) await pull(`${agent.url}/v2/team/app/blobs/${digest}?ns=registry.example`);
  }
  // An agent that stops tells what it counted.
  await second.close();
  await first.close();

  const report = await reportOf(origin.url, '?originBytesPerSecond=1000000');
  t.equal(report.images.length, 1);
  t.match(report.images[0], {
    repository: 'team/app',
    digest: image.digest,
    tags: ['v1'],
    nodes: 2,
    blobs: 6,
  });
  const { served, fetched, egressRatio, savedBytes, savedSeconds } = report.total;
  t.equal(allOf(served), 3 * (await imageBytes(origin.url, blobs)));
  t.ok(served.cache >= size, 'the third pull was from the cache');
  t.ok(fetched.peer > 0);
  t.equal(egressRatio, (allOf(fetched) - fetched.peer) / allOf(fetched));
  t.equal(savedBytes, fetched.peer);
  t.equal(savedSeconds, fetched.peer / 1_000_000);
  t.equal(report.days.length, 1);

  const sent = report.total.origin;
  const outward = await origin.metric('shoal_origin_blob_bytes_total', { direction: 'out' });
  t.equal((sent?.http ?? 0) + (sent?.swarm ?? 0), outward, 'the account of the origin is its metric');
  t.ok(
    Math.abs(fetched.originSwarm + fetched.originHttp - outward) <= 0.01 * outward,
    `agents had ${fetched.originSwarm + fetched.originHttp} from the origin, which sent ${outward}`,
  );
  t.equal((await reportOf(origin.url, '?repository=registry.example/team/app')).images.length, 1);
  t.equal((await reportOf(origin.url, '?repository=team/other')).images.length, 0);
});

async function imageBytes(url: string, blobs: readonly Digest[]): Promise<number> {
  const sizes = await Promise.all(
    blobs.map(async (digest) =>
      Number(
        (await fetch(`${url}/v2/team/app/blobs/${digest}`, { method: 'HEAD' })).headers.get('content-length'),
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

t.test('told while the agent runs, and kept over restarts of the origin', async (t) => {
  const data = await makeFolder(t);
  const origin = await originHere(t, { data });
  const { layers } = await pushImage(origin.url, 'team/app', 'v1', [someBytes(400_000)]);
  const agent = await agentHere(t, [origin.url]);
  await pull(`${agent.url}/v2/team/app/blobs/${layers[0]}`);
  await until(async () => (await reportOf(origin.url)).images.length === 1);
  const before = await reportOf(origin.url);
  // Nobody asked for a manifest: of which image the blob is cannot be said.
  t.match(before.images[0], { repository: 'team/app', digest: null });
  await agent.close();
  await origin.close();
  const again = await originHere(t, { data });
  t.same(await reportOf(again.url), before);
});

t.test('the origin counts a row once, however often and in whatever order it is told', async (t) => {
  const origin = await originHere(t);
  const row = (peer: number): AccountRow => ({
    ...{ day: dayOf(Date.now()), repository: 'team/app', image: null },
    ...emptyAccount(),
    fetched: { peer, originSwarm: 10, originHttp: 0 },
  });
  const tell = (node: string, rows: readonly unknown[]): Promise<Response> =>
    fetch(`${origin.url}/api/v1/agents/${node}/accounts`, { method: 'POST', body: JSON.stringify({ rows }) });
  for (const peer of [100, 250, 100, 250]) t.equal((await tell(nodeId('a'), [row(peer)])).status, 200);
  await Promise.all(Array.from({ length: 20 }, (_, at) => tell(nodeId('b'), [row(at)])));
  t.match((await reportOf(origin.url)).total, { fetched: { peer: 269, originSwarm: 20 } });
  t.equal((await reportOf(origin.url)).images[0]?.nodes, 2);

  const old = { ...row(1), day: dayOf(Date.now(), 3) };
  const answer = await tell(nodeId('a'), [old]);
  t.match(await answer.json(), { oldestDay: dayOf(Date.now(), 2) });
  t.equal((await reportOf(origin.url, '?days=30')).days.length, 1, 'a day that is over is not added to');
  const bad: readonly (readonly [string, readonly unknown[], number])[] = [
    [nodeId('a'), [{ ...row(1), day: dayOf(Date.now() + 3 * 86_400_000) }], 400],
    [nodeId('a'), [{ ...row(1), day: 'today' }], 400],
    [nodeId('a'), [row(-1)], 400],
    [nodeId('a'), [row(2 ** 60)], 400],
    [nodeId('a'), [{ ...row(1), repository: 'a b' }], 400],
    [nodeId('a'), [{ ...row(1), image: 'latest' }], 400],
    [nodeId('a'), [{ ...row(1), more: 1 }], 400],
    [nodeId('a'), Array.from({ length: MAX_ACCOUNT_ROWS + 1 }, () => row(1)), 400],
    ['me', [row(1)], 400],
  ];
  for (const [node, rows, status] of bad) {
    t.equal((await tell(node, rows)).status, status, JSON.stringify(rows[0]).slice(0, 80));
  }
  for (const query of ['?days=0', '?days=401', '?days=x', '?images=0', '?originBytesPerSecond=0']) {
    t.equal((await fetch(`${origin.url}/api/v1/report${query}`)).status, 400, query);
  }
});

t.test('only who may manage reads the report, only who may join tells', async (t) => {
  const users = { boss: 'b', node: 'n' };
  const { access } = await accessOf(await makeFolder(t), users, [
    'subject=user:boss actions=manage',
    'subject=user:node actions=join',
  ]);
  const origin = await originHere(t, { access });
  const as = (user: string) => ({
    authorization: formatBasic(user, user.slice(0, 1)),
  });
  const read = (headers = {}) => fetch(`${origin.url}/api/v1/report`, { headers });
  const tell = (headers = {}) =>
    fetch(`${origin.url}/api/v1/agents/${nodeId('a')}/accounts`, {
      method: 'POST',
      body: '{"rows":[]}',
      headers,
    });
  t.same(
    await Promise.all([
      read(),
      read(as('node')),
      read(as('boss')),
      tell(),
      tell(as('boss')),
      tell(as('node')),
    ]).then((answers) => answers.map(({ status }) => status)),
    [401, 403, 200, 401, 403, 200],
  );
});

t.test('an agent forgets days that no origin takes, and counts no more images than it may', async (t) => {
  const db = await openDatabase(await makeFolder(t));
  t.teardown(() => db.close());
  let at = Date.parse('2026-01-01T12:00:00Z');
  const written: AccountRow[] = [];
  const open = () =>
    openAgentLedger({ ...{ db, log }, now: () => at, onWritten: (rows) => void written.push(...rows) });
  const ledger = await open();
  const digest = `sha256:${'0'.repeat(64)}` as Digest;
  const repository = (name: string) => toRepository(name as Parameters<typeof toRepository>[0], undefined);
  for (let each = 0; each < MAX_IMAGES_A_DAY + 3; each += 1) {
    ledger.of(repository(`team/app${each}`), digest).served('cache', 1);
  }
  const one = ledger.of(repository('team/app0'), digest);
  t.equal(ledger.rows().length, MAX_IMAGES_A_DAY + 1);
  t.equal(ledger.rows().find((row) => row.repository === null)?.served.cache, 3);
  at += 86_400_000;
  one.served('swarm', 7);
  await ledger.close();
  t.equal(written.filter(({ day }) => day === '2026-01-02').length, 1);

  at += 2 * 86_400_000;
  const later = await open();
  t.same(later.rows(), [
    {
      day: '2026-01-02',
      repository: 'team/app0',
      image: null,
      ...emptyAccount(),
      served: { ...emptyAccount().served, swarm: 7 },
    },
  ]);
});

t.test('sums are kept as long as configured, what each agent told for three days', async (t) => {
  const db = await openDatabase(await makeFolder(t));
  t.teardown(() => db.close());
  let at = Date.parse('2026-01-10T12:00:00Z');
  const sent = { http: 100, swarm: 1 };
  const options = { db, log, keepMs: 5 * 86_400_000, now: () => at, repositoryOf: async () => undefined };
  const ledger = await openLedger({ ...options, sentNow: () => sent });
  const row = { ...emptyAccount(), repository: 'team/app', image: null, blobs: 2, day: '2026-01-10' };
  await ledger.take(nodeId('a'), [row]);
  t.same(await ledger.sent('2026-01-01'), [{ day: '2026-01-10', ...sent }]);
  await ledger.close();
  const left = async (): Promise<readonly string[]> => {
    const reopened = await openLedger({ ...options, sentNow: () => ({ http: 0, swarm: 0 }) });
    const days: string[] = [];
    for await (const rows of reopened.images('2026-01-01')) days.push(...rows.map(({ day }) => day));
    for (const { day } of await reopened.sent('2026-01-01')) days.push(day);
    await reopened.close();
    return days;
  };
  at += 4 * 86_400_000;
  t.same(await left(), ['2026-01-10', '2026-01-10']);
  t.same(await db.sublevel('account-agents').keys().all(), []);
  at += 2 * 86_400_000;
  t.same(await left(), []);
});
