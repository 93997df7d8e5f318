/** A tracker that runs alone asks the origins which blobs may be announced. */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { createHttpServer, formatHostPort, ProblemError } from '#http';
import { createMetrics } from '#telemetry';
import type { InfoHash } from '#torrent';
import { startTracker } from '#tracker';
import { announce, announceUrl, log, randomInfoHash } from '../support/tracker.ts';

const loopback = { host: '127.0.0.1', port: 0 };
const peerId = (): string => randomBytes(20).toString('hex');

/** The routes of an origin that a tracker uses; everybody may announce. */
async function originRoute(
  t: Test,
  answer: (infoHash: string) => unknown,
): Promise<{ url: string; asked: string[] }> {
  const server = await createHttpServer({ listen: loopback, log, metrics: createMetrics() });
  const asked: string[] = [];
  server.app.get<{ Params: { infoHash: string } }>('/api/v1/torrents/:infoHash', async ({ params }) => {
    asked.push(params.infoHash);
    const found = await answer(params.infoHash);
    if (found === undefined) throw new ProblemError(404, 'Not Found', 'no such blob');
    return found;
  });
  server.app.get<{ Params: { infoHash: string } }>(
    '/api/v1/torrents/:infoHash/announce',
    async ({ params }) => ({ held: (await answer(params.infoHash)) !== undefined, mayAnnounce: true }),
  );
  const address = await server.start();
  t.teardown(() => server.close(100));
  return { url: `http://${formatHostPort(address)}`, asked };
}

async function trackerOf(t: Test, origins: readonly string[]): Promise<string> {
  const tracker = await startTracker(
    { listen: loopback, udpListen: loopback, origins },
    { log, metrics: createMetrics() },
  );
  t.teardown(() => tracker.close());
  t.ok(tracker.udpAddress?.port);
  return `http://${formatHostPort(tracker.address)}`;
}

const ask = (url: string, infoHash: InfoHash): Promise<string[]> =>
  announce(url, { infoHash, peerId: peerId(), port: 1 });

t.test('the first origin that holds a blob names its seeds', async (t) => {
  const [one, two, neither] = [randomInfoHash(), randomInfoHash(), randomInfoHash()];
  const torrent = (peers: readonly string[]): object => ({ digest: 'sha256:…', size: 1, peers, more: true });
  const first = await originRoute(t, (it) =>
    it === one ? torrent(['127.0.0.1:6001', 'no address']) : undefined,
  );
  const second = await originRoute(t, (it) => (it === neither ? undefined : torrent(['127.0.0.1:6002'])));
  const url = await trackerOf(t, [first.url, second.url]);
  t.same(await ask(url, one), ['127.0.0.1:6001']);
  t.same(await ask(url, two), ['127.0.0.1:6002']);
  await t.rejects(ask(url, neither), /no origin of this tracker holds a blob/);
  t.same([first.asked.length, second.asked.length], [3, 2]);
  t.same(await ask(url, one), ['127.0.0.1:6001']);
  t.equal(first.asked.length, 3, 'what an origin said is remembered');
  t.match(await (await fetch(`${url}/api/v1/status`)).json(), { program: 'tracker', agents: 0 });
});

t.test('an origin that is down or answers nonsense does not hide another, and is no "no"', async (t) => {
  const [known, unknown] = [randomInfoHash(), randomInfoHash()];
  const lies: readonly unknown[] = [{ peers: 'x' }, [], { peers: [7] }, 'text'];
  let next = 0;
  const bad = await originRoute(t, () => lies[next++ % lies.length]);
  const good = await originRoute(t, (it) => (it === known ? { peers: ['127.0.0.1:6001'] } : undefined));
  const url = await trackerOf(t, ['http://127.0.0.1:1', bad.url, good.url]);
  t.same(await ask(url, known), ['127.0.0.1:6001']);
  await t.rejects(ask(url, unknown), /cannot be asked now/);
});

t.test('an origin that never answers is given up within the deadline of an announce', async (t) => {
  const hangs = await originRoute(t, () => new Promise(() => undefined));
  const url = await trackerOf(t, [hangs.url]);
  const asked = announceUrl(url, { infoHash: randomInfoHash(), peerId: peerId(), port: 1 });
  const response = await fetch(asked, { signal: AbortSignal.timeout(20_000) });
  t.match(await response.text(), /failure reason.*cannot be asked now/);
});

t.test('it does not open itself to other machines unasked', async (t) => {
  await t.rejects(
    startTracker({ listen: { host: '0.0.0.0', port: 0 }, origins: [] }, { log, metrics: createMetrics() }),
    /--admission open/,
  );
});
