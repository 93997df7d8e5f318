/** What the agent says of its fetches, over its API and by `shoal explain`. */
import t from 'tap';
import { agentHere, originHere, pull, pushBlob, pushImage, someBytes, until } from '../support/in-process.ts';
import { runShoal } from '../support/shoal.ts';

interface Report {
  readonly state: string;
  readonly size: number;
  readonly wallMs: number;
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly bytesBySource: Readonly<Record<string, number>>;
  readonly writingMs: number;
}
const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

t.test('a large and a small blob: bytes by source are the size, the phases are the time', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  for (const size of [5_000_000, 1000]) {
    const digest = await pushBlob(origin.url, 'team/app', someBytes(size));
    await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    const ask = async (): Promise<Report | undefined> => {
      const answer = await fetch(`${agent.url}/api/v1/pulls/${digest}`);
      return ((await answer.json()) as { pulls: Report[] }).pulls[0];
    };
    await until(async () => (await ask())?.state === 'complete');
    await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    const report = await ask();
    t.equal(report?.size, size);
    t.equal(sum(report?.bytesBySource ?? {}), size);
    t.equal(sum(report?.phasesMs ?? {}), report?.wallMs);
    t.ok((report?.writingMs ?? -1) >= 0 && (report?.writingMs ?? 0) <= (report?.wallMs ?? 0));
  }
  const all = (await (await fetch(`${agent.url}/api/v1/pulls`)).json()) as {
    pulls: Report[];
    serves: (Report & { from: string; bytes: number; slowest: string })[];
  };
  t.equal(all.pulls.length, 2, 'a cache hit is no fetch');
  t.equal(all.pulls[0]?.size, 1000, 'the newest first');
  t.same(
    all.serves.map(({ from, bytes }) => [from, bytes]),
    [
      ['cache', 1000],
      ['fetch', 1000],
      ['cache', 5_000_000],
      ['fetch', 5_000_000],
    ],
    'each answer, cache hits too',
  );
  for (const serve of all.serves) t.equal(sum(serve.phasesMs), serve.wallMs);
});

t.test('shoal explain: a table, JSON lines, and what it says of a blob that was never fetched', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const digest = await pushBlob(origin.url, 'team/app', someBytes(3_000_000));
  const never = await runShoal(['explain', digest, '--agent', agent.url]);
  t.equal(never.code, 1);
  t.match(never.stderr, /remembers no such fetch/);

  await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  const table = await runShoal(['explain', digest, '--agent', agent.url]);
  t.equal(table.code, 0, table.stderr);
  t.match(table.stdout, /of team\/app, .*: complete\nslowest: .+ % of the time\n/);
  t.match(table.stdout, /size +3\.0 MB/);
  t.match(table.stdout, /writing to the disk, meanwhile +\d+ ms/);
  const lines = await runShoal(['explain', '--agent', agent.url, '--json']);
  const [fetched, serve] = lines.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  t.match(fetched, { kind: 'fetch', digest, state: 'complete', size: 3_000_000 });
  t.match(serve, { kind: 'serve', digest, from: 'fetch', bytes: 3_000_000 });
  t.equal((await runShoal(['explain', 'sha256:short', '--agent', agent.url])).code, 2);
});

t.test('shoal explain REF: the blobs of the image and no other', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(2_000_000), someBytes(900_000)]);
  const other = await pushBlob(origin.url, 'team/app', someBytes(1_500_000));
  await pull(`${agent.url}/v2/team/app/manifests/v1`);
  for (const digest of [other, ...image.layers]) await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  // The config came with the manifest.
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 4);
  const table = await runShoal(['explain', 'team/app:v1', '--agent', agent.url]);
  t.equal(table.code, 0, table.stderr);
  t.match(
    table.stdout,
    /^team\/app:v1: fetches of 3 of its 3 blobs are remembered\nthe slowest: sha256:\S{12}, \d+ ms, .+\n\n/,
  );
  t.match(table.stdout, /team\/app v1 +\d{4}-.* ms/, 'the manifest');
  t.match(table.stdout, /what clients got\n(?:.*\n)+.* fetch +/);
  const lines = await runShoal(['explain', 'team/app:v1', '--agent', agent.url, '--json']);
  const digests = lines.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; digest: string })
    .filter(({ kind }) => kind === 'fetch')
    .map(({ digest }) => digest);
  t.same(digests.sort(), [image.config, ...image.layers].sort());
});

t.test('a client that reads slowly is named as the cause', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const digest = await pushBlob(origin.url, 'team/app', someBytes(24_000_000));
  const url = `${agent.url}/v2/team/app/blobs/${digest}`;
  await pull(url);
  await until(async () => (await agent.metric('shoal_cache_blobs')) === 1);
  const answer = await fetch(url);
  const reader = answer.body?.getReader();
  await reader?.read();
  type Serve = { from: string; bytes: number; slowest: string; phasesMs: { agent: number; client: number } };
  const newest = async (): Promise<Serve | undefined> =>
    ((await (await fetch(`${agent.url}/api/v1/pulls/${digest}`)).json()) as { serves: Serve[] }).serves[0];
  // Nothing is read until the account says for whom the agent waits.
  await until(async () => {
    const serve = await newest();
    return serve?.from === 'cache' && /^the client, which read slowly/.test(serve.slowest);
  });
  while (!(await reader?.read())?.done);
  await until(async () => (await newest())?.bytes === 24_000_000);
});
