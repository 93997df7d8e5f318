import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createTrackerDiscovery, type Discovery, type TrackerDiscoveryOptions } from '#discovery';
import { type Endpoints, fixedEndpoints, followEndpoints } from '#endpoints';
import { formatHostPort, type HttpClient } from '#http';
import type { PeerAddress } from '#swarm';
import { parseAnswer } from '../../src/discovery/bencoded-answer.ts';
import {
  announce,
  announceUrl,
  clientHere,
  log,
  putInventory,
  randomInfoHash,
  trackerHere,
  until,
} from '../support/tracker.ts';
import { discoveryContract } from '../unit/discovery/contract.ts';

const peerId = (): string => randomBytes(20).toString('hex');
const origin = { host: '127.0.0.1', port: 6881, role: 'origin' as const };
/** As in life, but the pauses are short. */
const timing = {
  announce: { earlyMs: [40, 40, 40, 40], firstBackoffMs: 20, mostBackoffMs: 80 },
  inventory: { gatherMs: 10, firstBackoffMs: 20, mostBackoffMs: 80, resyncMs: 20 },
};

function discover(
  t: Test,
  client: HttpClient,
  {
    trackers,
    ...options
  }: Partial<Omit<TrackerDiscoveryOptions, 'trackers'>> & {
    readonly trackers: readonly string[] | Endpoints;
  },
): Discovery {
  const discovery = createTrackerDiscovery({
    client,
    peerId: peerId(),
    address: { port: 7100 },
    log,
    timing,
    ...options,
    trackers: 'current' in trackers ? trackers : fixedEndpoints(trackers),
  });
  t.teardown(() => discovery.close());
  return discovery;
}

function collect(): { heard: Map<string, PeerAddress>; onPeers: (peers: readonly PeerAddress[]) => void } {
  const heard = new Map<string, PeerAddress>();
  return {
    heard,
    onPeers: (peers) => {
      for (const peer of peers) heard.set(formatHostPort(peer), peer);
    },
  };
}

t.test('the contract, by a tracker', async (t) => {
  const client = await clientHere(t);
  await discoveryContract(t, async (t) => {
    const infoHash = randomInfoHash();
    const tracker = await trackerHere(t, new Map([[infoHash, [origin]]]));
    await putInventory(tracker.url, peerId(), { port: 7001, blobs: [infoHash] });
    return {
      discovery: discover(t, client, { trackers: [tracker.url] }),
      infoHash,
      expected: ['127.0.0.1:6881', '127.0.0.1:7001'],
    };
  });
});

t.test('two members that download find one another, also when the second comes later', async (t) => {
  const client = await clientHere(t);
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, [origin]]]));
  const [one, two] = [collect(), collect()];
  const first = discover(t, client, { trackers: [tracker.url], address: { port: 7001 }, zone: 'eu1/rack1' });
  await until(() => tracker.tracker.stats().agents === 1);
  const membership = first.join({ infoHash, announce: [], left: () => 9, ...one });
  await until(() => one.heard.size === 1);
  const second = discover(t, client, { trackers: [tracker.url], address: { port: 7002 } });
  second.join({ infoHash, announce: [], left: () => 9, ...two });
  await until(() => two.heard.has('127.0.0.1:7001') && one.heard.has('127.0.0.1:7002'));
  t.equal(two.heard.get('127.0.0.1:7001')?.zone, 'eu1/rack1');
  t.notOk(one.heard.has('127.0.0.1:7001'), 'not of itself');

  first.hold([infoHash]);
  await membership.complete();
  const asks = { infoHash, peerId: peerId(), port: 7009 };
  await until(async () => (await announce(tracker.url, asks)).includes('127.0.0.1:7001'));
  await first.close();
  t.notOk((await announce(tracker.url, asks)).includes('127.0.0.1:7001'));
  t.equal(tracker.tracker.stats().agents, 1);
});

t.test('a UDP tracker of the metainfo is asked beside the configured ones', async (t) => {
  const client = await clientHere(t);
  const infoHash = randomInfoHash();
  const configured = await trackerHere(t, new Map());
  const named = await trackerHere(t, new Map([[infoHash, [origin]]]));
  const { heard, onPeers } = collect();
  const discovery = discover(t, client, { trackers: [configured.url] });
  const membership = discovery.join({
    infoHash,
    announce: ['nonsense', 'wss://127.0.0.1/x', `udp://127.0.0.1:${named.udp.port}/announce`],
    left: () => 2 ** 40,
    onPeers,
  });
  await until(() => heard.has('127.0.0.1:6881'));
  t.equal(named.tracker.stats().members, 1);
  await membership.leave();
  t.equal(named.tracker.stats().members, 0);
  t.match(await named.metrics.text(), /announces_total\{protocol="udp",result="ok"\}/);
});

t.test('an agent that only dials hears of others, and others do not hear of it', async (t) => {
  const client = await clientHere(t);
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, [origin]]]));
  const { heard, onPeers } = collect();
  const discovery = discover(t, client, { trackers: [tracker.url], address: undefined });
  discovery.hold([infoHash]);
  discovery.join({ infoHash, announce: [], left: () => 1, onPeers });
  await until(() => heard.size === 1 && tracker.tracker.stats().agents === 1);
  t.same(await announce(tracker.url, { infoHash, peerId: peerId(), port: 7009 }), ['127.0.0.1:6881']);
});

t.test('after a restart of the tracker the inventory comes back, with what changed meanwhile', async (t) => {
  const client = await clientHere(t);
  const [kept, dropped, added] = [randomInfoHash(), randomInfoHash(), randomInfoHash()];
  const blobs = new Map([kept, dropped, added].map((infoHash) => [infoHash, []]));
  const before = await trackerHere(t, blobs, { leaseMs: 150 });
  const discovery = discover(t, client, { trackers: [before.url] });
  discovery.hold([kept, dropped]);
  const holders = (url: string, infoHash: string): Promise<string[]> =>
    announce(url, { infoHash, peerId: peerId(), port: 1, left: 1 });
  await until(async () => (await holders(before.url, dropped)).length === 1);
  const listen = { http: Number(new URL(before.url).port), udp: before.udp.port };
  await before.close();
  discovery.drop([dropped]);
  discovery.hold([added]);

  const after = await trackerHere(t, blobs, { leaseMs: 150, listen });
  await until(async () => (await holders(after.url, added)).length === 1);
  t.same(await holders(after.url, kept), ['127.0.0.1:7100']);
  t.same(await holders(after.url, dropped), []);
});

t.test('heartbeats keep the lease of an agent whose inventory does not change', async (t) => {
  const client = await clientHere(t);
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(t, new Map([[infoHash, []]]), { leaseMs: 300, sweepMs: 10 });
  const discovery = discover(t, client, { trackers: [tracker.url] });
  discovery.hold([infoHash]);
  const seen = async (): Promise<string | undefined> => {
    const answer = (await (await fetch(`${tracker.url}/api/v1/agents`)).json()) as {
      agents: { lastSeen: string }[];
    };
    return answer.agents[0]?.lastSeen;
  };
  await until(async () => (await seen()) !== undefined);
  const first = Date.parse((await seen()) ?? '');
  await until(async () => Date.parse((await seen()) ?? '') - first > 600);
  t.same(await announce(tracker.url, { infoHash, peerId: peerId(), port: 7009 }), ['127.0.0.1:7100']);
});

t.test(
  'trackers that are down, hang, lie or break off disturb nobody, and close stays bounded',
  async (t) => {
    const client = await clientHere(t);
    const infoHash = randomInfoHash();
    const answers = [
      '',
      'garbage',
      'd8:intervali-5e5:peers3:abce',
      `d8:intervali99999999999999e5:peersl${'d2:ip3:x y4:porti0eed2:ip9:127.0.0.14:porti7001eee'}e`,
      'd14:failure reason4:busye',
      `d5:peers${'9'.repeat(15)}:x`,
      'l'.repeat(100_000),
      'd5:peersl3:-2:',
    ];
    let asked = 0;
    const hostile = createServer((request, response) => {
      asked += 1;
      if (asked % 11 === 0) return;
      if (asked % 7 === 0) return void request.socket.destroy();
      if (asked % 5 === 0)
        return void response.writeHead(200, { 'content-length': 999 }).write('d', () => response.destroy());
      response.end(answers[asked % answers.length]);
    });
    hostile.listen(0, '127.0.0.1');
    await once(hostile, 'listening');
    t.teardown(() => {
      hostile.closeAllConnections();
      hostile.close();
    });
    const good = await trackerHere(t, new Map([[infoHash, [origin]]]));
    const { heard, onPeers } = collect();
    const discovery = discover(t, client, {
      trackers: [
        'http://127.0.0.1:1',
        `http://127.0.0.1:${(hostile.address() as AddressInfo).port}`,
        good.url,
      ],
      timing: { ...timing, announce: { ...timing.announce, answerDeadlineMs: 200 } },
    });
    discovery.hold([infoHash]);
    for (let copy = 0; copy < 5; copy += 1) {
      discovery.join({ infoHash, announce: ['udp://127.0.0.1:1'], left: () => 1, onPeers });
    }
    await until(() => heard.has('127.0.0.1:6881') && heard.has('127.0.0.1:7001') && asked > 60);
    t.same([...heard.keys()].sort(), ['127.0.0.1:6881', '127.0.0.1:7001']);
    await discovery.close();
    t.equal(good.tracker.stats().agents, 0);
  },
);

t.test('a tracker with a certificate of an own authority', async (t) => {
  const { execFileSync } = await import('node:child_process');
  const { createHttpClient, createHttpServer } = await import('#http');
  const { createMetrics } = await import('#telemetry');
  const { createTracker } = await import('#tracker');
  const folder = t.testdir();
  const [certFile, keyFile] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  const openssl = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=shoal';
  execFileSync(
    'openssl',
    [...openssl.split(' '), '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', certFile],
    { stdio: 'ignore' },
  );
  const infoHash = randomInfoHash();
  const metrics = createMetrics();
  const tracker = createTracker({ admit: async () => ({ seeds: [origin] }), log, metrics });
  const server = await createHttpServer({
    listen: { host: '127.0.0.1', port: 0 },
    tls: { certFile, keyFile },
    log,
    metrics,
  });
  tracker.register(server.app);
  const address = await server.start();
  t.teardown(() => server.close(100).then(() => tracker.close()));

  const client = await createHttpClient({ caFile: certFile });
  t.teardown(() => client.close());
  const { heard, onPeers } = collect();
  const discovery = discover(t, client, { trackers: [`https://${formatHostPort(address)}`] });
  discovery.join({ infoHash, announce: [], left: () => 1, onPeers });
  await until(() => heard.has('127.0.0.1:6881') && tracker.stats().agents === 1);
  await discovery.close();
  t.equal(tracker.stats().agents, 0);
});

t.test('answers are read in both forms', async (t) => {
  const infoHash = randomInfoHash();
  const tracker = await trackerHere(
    t,
    new Map([[infoHash, [origin, { host: '::1', port: 6882 }, { host: 'localhost', port: 6883 }]]]),
  );
  for (const compact of [0, 1] as const) {
    const response = await fetch(
      announceUrl(tracker.url, { infoHash, peerId: peerId(), port: 7009, compact }),
    );
    const { peers } = parseAnswer(Buffer.from(await response.arrayBuffer()), '');
    t.ok(peers.some(({ host, port }) => host === '127.0.0.1' && port === 6881));
    t.ok(peers.some(({ host, port }) => host.endsWith(':1') && port === 6882));
    t.ok(peers.some(({ port }) => port === 6883));
  }
});

t.test('the addresses of a name are trackers that come and go while something is downloaded', async (t) => {
  const client = await clientHere(t);
  const infoHash = randomInfoHash();
  const blobs = new Map([[infoHash, [origin]]]);
  const first = await trackerHere(t, blobs, { listen: { host: '127.0.0.2', http: 0, udp: 0 } });
  const http = Number(new URL(first.url).port);
  const second = await trackerHere(t, blobs, { listen: { host: '127.0.0.3', http, udp: 0 } });
  let addresses = ['127.0.0.2'];
  const trackers = followEndpoints([`dns+http://origin.test:${http}`], {
    log,
    refreshMs: 100,
    lookup: async () => addresses.map((address) => ({ address, family: 4 })),
  });
  t.teardown(() => trackers.close());
  const { onPeers } = collect();
  const discovery = discover(t, client, { trackers });
  discovery.hold([randomInfoHash()]);
  // As an origin's metainfo names itself: by the name that was asked, with what lets us in.
  const announce = [`http://origin.test:${http}/announce?passkey=p`];
  const membership = discovery.join({ infoHash, announce, left: () => 1, onPeers });
  const counts = ({ tracker }: typeof first) => [tracker.stats().agents, tracker.stats().members];
  const known = ({ tracker }: typeof first): boolean =>
    tracker.stats().agents === 1 && tracker.stats().members === 1;
  await until(() => known(first));
  t.same(counts(second), [0, 0]);
  addresses = ['127.0.0.2', '127.0.0.3'];
  await until(() => known(first) && known(second));
  addresses = ['127.0.0.3'];
  await until(() => first.tracker.stats().agents === 0);
  t.ok(known(second));
  await membership.leave();
  t.equal(second.tracker.stats().members, 0);
});
