/** Scrubbing a running origin: what is damaged is set aside, reported, and fetched from the swarm. */
import { chmod, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { openDatabase } from '#database';
import { agentHere, originHere, pull, pushImage, someBytes, until } from '../support/in-process.ts';
import { runShoal } from '../support/shoal.ts';

interface Scrub {
  readonly running: boolean;
  readonly checked: Readonly<Record<'blobs' | 'bytes' | 'manifests' | 'references' | 'tags', number>>;
  readonly found: number;
  readonly repaired: number;
  readonly problems: readonly {
    kind: string;
    digest: string;
    tag?: string;
    note: string;
    repaired: boolean;
  }[];
}

async function scrub(url: string): Promise<Scrub> {
  const begun = await fetch(`${url}/api/v1/scrub`, { method: 'POST' });
  if (begun.status !== 202) throw new Error(`POST scrub answered ${begun.status}`);
  await begun.body?.cancel();
  for (;;) {
    const state = (await (await fetch(`${url}/api/v1/scrub`)).json()) as Scrub;
    if (!state.running) return state;
    await delay(20);
  }
}

function fileOf(data: string, digest: string): string {
  const hex = digest.slice('sha256:'.length);
  return path.join(data, 'blobs', 'sha256', hex.slice(0, 2), hex);
}

async function damage(data: string, digest: string): Promise<void> {
  const file = fileOf(data, digest);
  const bytes = await readFile(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  await chmod(file, 0o640);
  await writeFile(file, bytes);
}

t.test('damaged and missing blobs come back from the agents that hold them', async (t) => {
  const origin = await originHere(t);
  const agent = await agentHere(t, [origin.url]);
  const layers = [someBytes(3 << 20), someBytes(2 << 20), someBytes(5_000)];
  const image = await pushImage(origin.url, 'library/app', 'v1', layers);
  for (const digest of [...image.layers, image.config]) {
    t.equal((await pull(`${agent.url}/v2/library/app/blobs/${digest}`)).status, 200);
  }
  t.match(await scrub(origin.url), { found: 0, checked: { blobs: 4, manifests: 1, references: 4, tags: 1 } });

  // The agent tells its inventory a moment after it has a blob.
  await until(async () => {
    const agents = (await (await fetch(`${origin.url}/api/v1/agents`)).json()) as {
      agents: { blobs: number }[];
    };
    return agents.agents[0]?.blobs === 4;
  });
  const [one, two, three] = image.layers;
  if (!one || !two || !three) throw new Error('no layers');
  await damage(origin.data, one);
  await rm(fileOf(origin.data, two));
  await damage(origin.data, three);
  const found = await scrub(origin.url);
  t.equal(found.found, 3);
  t.equal(found.repaired, 3, JSON.stringify(found.problems));
  const kinds = new Map(found.problems.map(({ digest, kind }) => [digest, kind]));
  t.same(
    [one, two, three].map((digest) => kinds.get(digest)),
    ['blob damaged', 'blob missing', 'blob damaged'],
  );
  for (const [at, digest] of image.layers.entries()) {
    const blob = await pull(`${origin.url}/v2/library/app/blobs/${digest}`);
    t.ok(blob.bytes.equals(layers[at] ?? Buffer.alloc(0)));
  }
  t.equal((await readdir(path.join(origin.data, 'blobs', 'quarantine'))).length, 2);
  t.equal(await origin.metric('shoal_origin_scrub_repaired_total'), 3);
  t.match(await scrub(origin.url), { found: 0 });
});

t.test('what nobody holds is set aside and said; a push mends it', async (t) => {
  const origin = await originHere(t);
  const layer = someBytes(100_000);
  const image = await pushImage(origin.url, 'library/app', 'v1', [layer]);
  const [digest] = image.layers;
  if (!digest) throw new Error('no layer');
  t.equal((await pull(`${origin.url}/v2/library/app/_shoal/torrents/${digest}`)).status, 200);
  await damage(origin.data, digest);

  const run = await runShoal(['origin', 'scrub', '--url', origin.url]);
  t.equal(run.code, 1);
  t.match(run.stdout, /blob damaged/);
  t.match(run.stdout, /no member of the swarm has it now; push it again/);
  t.match(run.stdout, /1 problems, 0 repaired/);
  t.equal((await pull(`${origin.url}/v2/library/app/blobs/${digest}`)).status, 404);
  await pushImage(origin.url, 'library/app', 'v1', [layer]);
  const again = await runShoal(['origin', 'scrub', '--url', origin.url, '--json']);
  t.equal(again.code, 0, again.stderr);
  t.match(JSON.parse(again.stdout), { found: 0, running: false });
});

t.test('a damaged manifest and a lost reference are found', async (t) => {
  const origin = await originHere(t);
  const image = await pushImage(origin.url, 'a', 'v1', [someBytes(1000)]);
  const other = await pushImage(origin.url, 'b', 'v1', [someBytes(1001)]);
  await origin.close();
  const db = await openDatabase(path.join(origin.data, 'db'));
  const table = (name: string) => db.sublevel<string, Buffer>(['origin', name], { valueEncoding: 'buffer' });
  await table('bytes').put(`a\u0000${image.digest}`, Buffer.from('{"not":"it"}'));
  await table('links').del(`b\u0000${other.config}`);
  await db.close();

  const again = await originHere(t, { data: origin.data });
  const state = await scrub(again.url);
  t.same(
    state.problems.map(({ kind, digest }) => [kind, digest]),
    [
      ['manifest damaged', image.digest],
      ['reference without content', other.digest],
      ['tag without manifest', image.digest],
    ],
  );
  t.equal((await pull(`${again.url}/v2/a/manifests/v1`)).status, 404, 'nothing wrong is served');
});

t.test('the commands are found by their two words', async (t) => {
  const origin = await originHere(t);
  await pushImage(origin.url, 'a', 'v1', [someBytes(10)]);
  const dry = await runShoal(['origin', 'gc', '--dry-run', '--url', origin.url]);
  t.equal(dry.code, 0, dry.stderr);
  t.match(dry.stdout, /0 tags, 0 manifests, 0 blobs of repositories, 0 blobs \(0 B\) would go/);
  const help = await runShoal(['origin', 'scrub', '--help']);
  t.match(help.stdout, /Usage: shoal origin scrub/);
  const wrong = await runShoal(['origin', 'gc', '--url', `${origin.url}/nowhere`]);
  t.equal(wrong.code, 1);
  t.match(wrong.stderr, /is this an origin/);
});
