/** Swarms of a cluster over libp2p: who shows no membership that counts gets nothing, on either side. */
import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import t, { type Test } from 'tap';
import { createCluster } from '#cluster';
import { createIdentity, createSwarm, type Identity, type PeerAddress, type Swarm } from '#swarm';
import { makeCluster, type TestCluster, type TestMembership, testMembership } from '../support/cluster.ts';
import {
  type Counts,
  countingObserver,
  LOOPBACK,
  makeBlob,
  memoryStore,
  quiet,
  until,
} from './swarm-support.ts';

const blob = makeBlob(1_500_000);

interface Member {
  readonly swarm: Swarm;
  readonly identity: Identity;
  readonly membership: TestMembership;
  readonly counts: Counts;
}

async function member(
  t: Test,
  cluster: TestCluster,
  options: {
    readonly seeds?: boolean;
    readonly uploadRateBytesPerSecond?: number;
    readonly shown?: (peerId: string) => Promise<string | undefined>;
  } = {},
): Promise<Member> {
  const { uploadRateBytesPerSecond: rate } = options;
  const identity = await createIdentity();
  const shown = await (options.shown ?? cluster.membership)(identity.peerId);
  const { member: check } = createCluster(cluster.key.id, Date.now);
  const membership = testMembership(check, shown);
  const counts = countingObserver();
  const swarm = await createSwarm({
    ...{ listen: undefined, identity, membership, peerListen: LOOPBACK, transports: ['libp2p'], log: quiet },
    lookup: async (infoHash) =>
      options.seeds === true && infoHash === blob.metainfo.infoHash
        ? { metainfo: blob.metainfo, store: memoryStore(blob.metainfo, blob.bytes) }
        : undefined,
    observer: counts.observer,
    ...(rate !== undefined && { uploadRateBytesPerSecond: rate }),
  });
  t.teardown(() => swarm.close());
  return { swarm, identity, membership, counts };
}

function addressOf({ swarm }: Member): PeerAddress {
  if (swarm.libp2p === undefined) throw new Error('does not listen');
  const { host, port, peerId } = swarm.libp2p;
  return { host, port, libp2p: { port, peerId } };
}

function begin(of: Member, from: Member) {
  const store = memoryStore(blob.metainfo);
  const download = of.swarm.download({ metainfo: blob.metainfo, store });
  download.addPeers([addressOf(from)]);
  const done = download.completed.then(
    () => store,
    () => undefined,
  );
  return { download, store, done };
}

/** The seed refuses the leech, or the leech the seed: nothing is exchanged. */
async function refused(t: Test, seed: Member, leech: Member, reasons: RegExp): Promise<void> {
  const { download, store } = begin(leech, seed);
  await until(() => seed.membership.refusals.length + leech.membership.refusals.length > 0, 'a refusal');
  const words = [...seed.membership.refusals, ...leech.membership.refusals].join('; ');
  t.match(words, reasons);
  t.equal(download.stats().bytesFromPeers, 0);
  t.same(store.bytes, Buffer.alloc(blob.bytes.length), 'no byte came');
  await download.close();
}

t.test('members exchange, and both sides have checked the other', async (t) => {
  const cluster = await makeCluster(t);
  const seed = await member(t, cluster, { seeds: true });
  const leech = await member(t, cluster);
  const store = await begin(leech, seed).done;
  t.ok(store?.bytes.equals(blob.bytes));
  t.strictSame([...seed.membership.refusals, ...leech.membership.refusals], []);
});

t.test('a membership that does not count is refused', async (t) => {
  const cluster = await makeCluster(t);
  const other = await makeCluster(t);
  const thief = await createIdentity();
  const long = Date.now() - 3_600_000;
  const cases: Readonly<Record<string, (peerId: string) => Promise<string | undefined>>> = {
    expired: (peerId) => cluster.membership(peerId, { lifetimeMs: 60_000, now: long }),
    "another peer's": () => cluster.membership(thief.peerId),
    "another cluster's": (peerId) => other.membership(peerId),
    'none at all': async () => undefined,
    nonsense: async () => 'x'.repeat(3_000),
  };
  for (const [name, shown] of Object.entries(cases)) {
    await t.test(`${name}, of who asks`, async (t) => {
      const seed = await member(t, cluster, { seeds: true });
      await refused(t, seed, await member(t, cluster, { shown }), /./);
      t.equal(seed.counts.out, 0);
    });
    await t.test(`${name}, of who is asked`, async (t) => {
      const leech = await member(t, cluster);
      await refused(t, await member(t, cluster, { seeds: true, shown }), leech, /./);
    });
  }
});

t.test('a libp2p node without membership gets no stream, whatever it tries', async (t) => {
  const cluster = await makeCluster(t);
  const seed = await member(t, cluster, { seeds: true });
  const { host, port, libp2p } = addressOf(seed);
  const stranger = await createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
  });
  t.teardown(() => stranger.stop());
  const address = multiaddr(`/ip4/${host}/tcp/${port}/p2p/${libp2p?.peerId}`);
  const handshake = Buffer.concat([
    Buffer.from('\x13BitTorrent protocol'),
    Buffer.alloc(8),
    Buffer.from(blob.metainfo.infoHash, 'hex'),
    Buffer.alloc(20, 1),
  ]);
  /** Says something on a protocol, and answers with the bytes that came until the connection was closed. */
  const tryOut = async (protocol: string, words: Buffer): Promise<number> => {
    const connection = await stranger.dial(address);
    let came = 0;
    const closed = new Promise<void>((resolve) => {
      if (connection.status === 'closed') resolve();
      connection.addEventListener('close', () => resolve());
    });
    await connection
      .newStream(protocol)
      .then((stream) => {
        stream.addEventListener('message', ({ data }) => {
          came += data.byteLength;
        });
        stream.send(words);
      })
      .catch(() => undefined);
    await closed;
    return came;
  };
  t.equal(await tryOut('/shoal/bt/1.0.0', handshake), 0, 'no handshake is answered');
  t.equal(await tryOut('/shoal/member/1.0.0', Buffer.from('\0\x05hello')), 0, 'nor a membership shown');
  t.equal(await tryOut('/shoal/member/1.0.0', Buffer.from('\xff\xffhello', 'latin1')), 0);
  const stolen = Buffer.from(await cluster.membership((await createIdentity()).peerId));
  const frame = Buffer.concat([Buffer.from([stolen.length >> 8, stolen.length & 255]), stolen]);
  t.equal(await tryOut('/shoal/member/1.0.0', frame), 0, "nor for another peer's membership");
  t.equal(seed.counts.out, 0);
  t.match(seed.membership.refusals.join('; '), /before it showed a membership/);
  t.match(seed.membership.refusals.join('; '), /of another peer/);
});

t.test('a connection ends with the membership, or goes on with a newer one', async (t) => {
  const cluster = await makeCluster(t);
  const short = (peerId: string) => cluster.membership(peerId, { lifetimeMs: 4_000 });
  const slow = { uploadRateBytesPerSecond: 60_000 };
  const seed = await member(t, cluster, { seeds: true, ...slow });
  const renewing = await member(t, cluster, { shown: short });
  const ending = await member(t, cluster, { shown: short });
  renewing.membership.shown = await cluster.membership(renewing.identity.peerId, { lifetimeMs: 4_000 });
  const [kept, lost] = [begin(renewing, seed), begin(ending, seed)];
  await until(() => seed.swarm.peers().length === 2, 'both are connected');
  renewing.membership.shown = await cluster.membership(renewing.identity.peerId);
  await until(() => seed.membership.refusals.length > 0, 'the end of one');
  t.match(seed.membership.refusals[0], /run out|expired/);
  await until(() => seed.swarm.peers().length === 1, 'the other goes on');
  t.equal(kept.download.stats().connectedPeers, 1);
  await Promise.all([kept.download.close(), lost.download.close()]);
});

t.test('revocation closes open connections, on both sides, and lets no new one be made', async (t) => {
  const cluster = await makeCluster(t);
  const seed = await member(t, cluster, { seeds: true, uploadRateBytesPerSecond: 60_000 });
  const leech = await member(t, cluster);
  const { download, store } = begin(leech, seed);
  await until(() => seed.swarm.peers().length === 1, 'the connection');
  seed.membership.revoke(leech.identity.peerId);
  await until(() => seed.swarm.peers().length === 0, 'its end');
  const sent = seed.counts.out;
  download.addPeers([addressOf(seed)]);
  await until(
    () => leech.membership.refusals.length > 0 || seed.membership.refusals.length > 1,
    'a new refusal',
  );
  t.equal(seed.counts.out, sent, 'no byte more');
  t.notOk(store.bytes.equals(blob.bytes));
  await download.close();
});
