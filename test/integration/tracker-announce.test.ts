import { randomBytes } from 'node:crypto';
import Client from 'bittorrent-tracker/client';
import t from 'tap';
import { parseAnswer } from '../../src/discovery/bencoded-answer.ts';
import {
  announce,
  announceUrl,
  putInventory,
  randomInfoHash,
  type TestTracker,
  trackerHere,
  until,
} from '../support/tracker.ts';

const peerId = (): string => randomBytes(20).toString('hex');
const origin = { host: '127.0.0.1', port: 6881, role: 'origin' as const };

/** What the library's own client hears of its first announce. */
function ask(
  url: string,
  infoHash: string,
  port: number,
  left = 100,
): Promise<{ peers: string[]; complete: number; incomplete: number } | Error> {
  const client = new Client({ infoHash, peerId: peerId(), announce: [url], port, wrtc: false });
  const peers: string[] = [];
  return new Promise((resolve) => {
    client.on('peer', (peer: string) => peers.push(peer));
    client.on('warning', (error: Error) => resolve(error));
    client.on('error', (error: Error) => resolve(error));
    client.on('update', ({ complete, incomplete }: { complete: number; incomplete: number }) => {
      setImmediate(() => resolve({ peers: peers.sort(), complete, incomplete }));
    });
    client.start({ left, numwant: 50 });
  }).finally(() => client.destroy()) as Promise<never>;
}

const urls = (tracker: TestTracker): string[] => [
  `${tracker.url}/announce`,
  `udp://127.0.0.1:${tracker.udp.port}`,
];

t.test('the standard client announces and hears of the others, over HTTP and UDP', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, [origin]]]));
  const [http = '', udp = ''] = urls(tracker);
  t.same(await ask(http, infoHash, 7001), { peers: ['127.0.0.1:6881'], complete: 1, incomplete: 1 });
  t.same(await ask(udp, infoHash, 7002), {
    peers: ['127.0.0.1:6881', '127.0.0.1:7001'],
    complete: 1,
    incomplete: 2,
  });
  t.same(await ask(http, infoHash, 7003, 0), {
    peers: ['127.0.0.1:7001', '127.0.0.1:7002'],
    complete: 2,
    incomplete: 2,
  });
  const text = await tracker.metrics.text();
  t.match(text, /shoal_tracker_announces_total\{protocol="http",result="ok"\} 2/);
  t.match(text, /shoal_tracker_announces_total\{protocol="udp",result="ok"\} 1/);
});

t.test('an unknown blob is refused in words, over HTTP and UDP, announced or scraped', async (t) => {
  const known = randomInfoHash();
  const unknown = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[known, [origin]]]));
  for (const url of urls(tracker)) {
    const answer = await ask(url, unknown, 7001);
    t.match(answer, { message: /no origin of this tracker holds a blob/ }, url);
    const scraped = await new Promise<Error>((resolve) => {
      const client = new Client({
        infoHash: unknown,
        peerId: peerId(),
        announce: [url],
        port: 7001,
        wrtc: false,
      });
      client.on('warning', resolve);
      client.on('scrape', () => resolve(new Error('was answered')));
      client.scrape({});
      t.teardown(() => client.destroy());
    });
    t.match(scraped, { message: /no origin of this tracker holds a blob/ }, url);
  }
  t.equal(tracker.tracker.stats().members, 0);
  t.match(await tracker.metrics.text(), /announces_total\{protocol="udp",result="refused"\} 1/);
});

t.test('scrape counts over HTTP and UDP, with the bytes of the infohash as the key', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, [origin]]]));
  await announce(tracker.url, { infoHash, peerId: peerId(), port: 7001 });
  await putInventory(tracker.url, peerId(), { port: 7002, blobs: [infoHash] });

  const query = `info_hash=${infoHash.replace(/../g, '%$&')}`;
  const raw = await fetch(`${tracker.url}/scrape?${query}&info_hash=${'%01'.repeat(20)}`);
  const body = Buffer.from(await raw.arrayBuffer());
  t.ok(body.includes(Buffer.concat([Buffer.from('20:'), Buffer.from(infoHash, 'hex')])));
  t.match(body.toString('latin1'), 'd8:completei2e10:downloadedi2e10:incompletei1eeee');

  const udp = await new Promise<object>((resolve) => {
    const [, url = ''] = urls(tracker);
    const client = new Client({ infoHash, peerId: peerId(), announce: [url], port: 7003, wrtc: false });
    client.on('scrape', resolve);
    client.scrape({});
    t.teardown(() => client.destroy());
  });
  t.match(udp, { infoHash, complete: 2, incomplete: 1 });
  const all = await (await fetch(`${tracker.url}/scrape`)).text();
  t.match(all, /failure reason.*info_hash is missing/);
});

t.test('the caller is not told of itself, nobody twice, and who leaves is forgotten', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, [origin]]]));
  const me = { infoHash, peerId: peerId(), port: 7001 };
  const other = { infoHash, peerId: peerId(), port: 7002 };
  await announce(tracker.url, me);
  t.same(await announce(tracker.url, me), ['127.0.0.1:6881']);
  t.same(await announce(tracker.url, other), ['127.0.0.1:7001', '127.0.0.1:6881'], 'the origin is last');
  // The same address under another peer id, as after a restart.
  await announce(tracker.url, { ...other, peerId: peerId() });
  t.same(await announce(tracker.url, me), ['127.0.0.1:7002', '127.0.0.1:6881']);
  t.same(await announce(tracker.url, { ...me, event: 'stopped' }), []);
  t.notOk((await announce(tracker.url, other)).includes('127.0.0.1:7001'));
});

t.test('ip, X-Forwarded-For and port 1 bring nobody into the lists', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, []]]));
  await fetch(announceUrl(tracker.url, { infoHash, peerId: peerId(), port: 7001, more: '&ip=203.0.113.9' }), {
    headers: { 'x-forwarded-for': '203.0.113.8' },
  });
  await announce(tracker.url, { infoHash, peerId: peerId(), port: 1 });
  t.same(await announce(tracker.url, { infoHash, peerId: peerId(), port: 7002 }), ['127.0.0.1:7001']);
});

t.test('intervals: 30 s for who downloads, 10 minutes for a seed', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, []]]));
  for (const [left, ms] of [
    [5, 30_000],
    [0, 600_000],
  ] as const) {
    const response = await fetch(announceUrl(tracker.url, { infoHash, peerId: peerId(), port: 7001, left }));
    t.equal(parseAnswer(Buffer.from(await response.arrayBuffer()), '').intervalMs, ms);
  }
});

t.test('a large swarm: the numbers are bounded, and the origin keeps its place', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, [origin]]]), { limits: { perBlob: 150 } });
  for (let port = 10_001; port <= 10_200; port += 1) {
    await announce(tracker.url, { infoHash, peerId: peerId(), port, more: '&numwant=1' });
  }
  t.equal(tracker.tracker.stats().members, 150);
  const many = await announce(tracker.url, {
    infoHash,
    peerId: peerId(),
    port: 7000,
    more: '&numwant=100000',
  });
  t.ok(many.length <= 82 && many.length >= 80);
  t.equal(many[many.length - 1], '127.0.0.1:6881');
});

t.test('an admission that fails is answered in words, and others go on', async (t) => {
  const known = randomInfoHash();
  const broken = randomInfoHash();
  const tracker = await trackerHere(t, new Map(), {
    admit: async (infoHash) => {
      if (infoHash === broken) throw new Error('the database is away');
      return { seeds: [] };
    },
  });
  const response = await fetch(announceUrl(tracker.url, { infoHash: broken, peerId: peerId(), port: 7001 }));
  t.match(await response.text(), /failure reason.*cannot be asked now/);
  t.same(await announce(tracker.url, { infoHash: known, peerId: peerId(), port: 7001 }), []);
});

t.test('members that do not announce again are forgotten', async (t) => {
  const infoHash = randomInfoHash();
  let now = 1_000_000;
  const tracker = await trackerHere(t, new Map([[infoHash, []]]), { now: () => now, sweepMs: 5 });
  await announce(tracker.url, { infoHash, peerId: peerId(), port: 7001 });
  t.equal(tracker.tracker.stats().members, 1);
  now += 20 * 60_000 + 1;
  await until(() => tracker.tracker.stats().members === 0);
  t.same(await announce(tracker.url, { infoHash, peerId: peerId(), port: 7002 }), []);
});
