/** What /api/v1/swarms and `shoal swarm` tell of who has what. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { pushBlob } from '../support/registry-client.ts';
import { runShoal, startProgram } from '../support/shoal.ts';
import { announce, putInventory, randomInfoHash, trackerHere } from '../support/tracker.ts';

const peerId = (): string => randomBytes(20).toString('hex');
const ask = async (url: string): Promise<Record<string, unknown>> =>
  (await (await fetch(url)).json()) as Record<string, unknown>;

t.test('who has it, who downloads it and how fast, by zone, in pages', async (t) => {
  const blob = randomInfoHash();
  let now = 1_000_000;
  const tracker = await trackerHere(t, new Map([[blob, []]]), { now: () => now });
  const zones = ['eu/1', 'eu/1', 'eu/1', 'us/1'];
  const agents = zones.map(() => peerId());
  for (const [index, agent] of agents.entries()) {
    await putInventory(tracker.url, agent, { port: 7001 + index, zone: zones[index] ?? '', blobs: [] });
  }
  await putInventory(tracker.url, peerId(), { port: 7100, zone: 'eu/1', blobs: [blob] });
  // Three of four at 100 bytes a second, one at 10; twice, because a pace is between two announces.
  const say = async (left: (index: number) => number): Promise<void> => {
    for (const [index, agent] of agents.entries()) {
      await announce(tracker.url, { infoHash: blob, peerId: agent, port: 7001 + index, left: left(index) });
    }
  };
  await say(() => 1_000);
  now += 5_000;
  await say((index) => (index === 3 ? 950 : 500));
  now += 2_000;

  const where = `${tracker.url}/api/v1/swarms/${blob}`;
  t.match(await ask(where), {
    ...{ infoHash: blob, digest: null, size: null, copies: 1, downloading: 4, medianBytesPerSecond: 100 },
    zones: [
      { zone: 'eu/1', copies: 1, downloading: 3 },
      { zone: 'us/1', copies: 0, downloading: 1 },
    ],
    next: null,
  });
  const { members } = (await ask(where)) as { members: { address: string; progress: number }[] };
  const of = (port: number): object | undefined =>
    members.find(({ address }) => address.endsWith(`:${port}`));
  t.match(of(7001), {
    progress: 0.5,
    left: 500,
    bytesPerSecond: 100,
    slow: false,
    zone: 'eu/1',
    lastSeenSeconds: 2,
  });
  t.match(of(7004), { bytesPerSecond: 10, slow: true });
  t.match(of(7100), { progress: 1, left: 0, bytesPerSecond: null });
  t.equal(members.at(-1)?.address, '127.0.0.1:7100', 'those who download come first');

  const seen: string[] = [];
  for (let next: unknown = 0; next !== null; ) {
    const page = await ask(`${where}?n=2&offset=${String(next)}`);
    for (const { address } of page['members'] as { address: string }[]) seen.push(address);
    next = page['next'];
  }
  t.equal(new Set(seen).size, 5);

  const cli = await runShoal(['swarm', blob, '--origin', tracker.url]);
  t.equal(cli.code, 0, cli.stderr);
  t.match(cli.stdout, /1 copies beside the origin's, 4 downloading, the median at 100 B\/s/);
  t.match(cli.stdout, /us\/1 +0 +1 +nobody near has it/);
  t.match(cli.stdout, /127\.0\.0\.1:7004 +us\/1 +5 % +10 B\/s slow/);
});

t.test('the list of swarms is paged, and what is malformed is refused with the reason', async (t) => {
  const blobs = Array.from({ length: 5 }, randomInfoHash).sort();
  const tracker = await trackerHere(t, new Map(blobs.map((blob) => [blob, []])));
  for (const infoHash of blobs) await announce(tracker.url, { infoHash, peerId: peerId(), port: 7001 });
  const seen: unknown[] = [];
  for (let last = ''; ; ) {
    const page = await ask(`${tracker.url}/api/v1/swarms?n=2${last === '' ? '' : `&last=${last}`}`);
    for (const { infoHash } of page['swarms'] as { infoHash: string }[]) seen.push(infoHash);
    if (page['next'] === null) break;
    last = String(page['next']);
  }
  t.same(seen, blobs);
  for (const path of ['?n=x', '?last=zz', `/${blobs[0]}?offset=-1`, `/${blobs[0]}?surprise=1`]) {
    t.equal((await fetch(`${tracker.url}/api/v1/swarms${path}`)).status, 400, path);
  }
  t.equal((await fetch(`${tracker.url}/api/v1/swarms/sha256:${'0'.repeat(64)}`)).status, 404);
});

t.test(
  'an origin knows a swarm by the digest; the command ends with 1 for what it does not have',
  async (t) => {
    const origin = await startProgram(t, 'origin');
    const digest = await pushBlob(origin.url, 'team/app', 45_001, 600_000);
    const cli = await runShoal(['swarm', digest, '--origin', origin.url, '--json']);
    t.equal(cli.code, 0, cli.stderr);
    t.match(JSON.parse(cli.stdout), { digest, size: 600_000, copies: 0, downloading: 0, members: [] });
    const missing = await runShoal(['swarm', `sha256:${'0'.repeat(64)}`, '--origin', origin.url]);
    t.equal(missing.code, 1);
    t.match(missing.stderr, /answered 404/);
  },
);
