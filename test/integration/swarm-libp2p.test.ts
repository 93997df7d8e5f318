/** Two and more engines over libp2p: one connection, many blobs, and what goes wrong with it. */
import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { createIdentity, createSwarm, type PeerAddress, type Swarm, type SwarmOptions } from '#swarm';
import {
  type Counts,
  countingObserver,
  LOOPBACK,
  type MemoryStore,
  makeBlob,
  memoryStore,
  quiet,
  type TestBlob,
  until,
} from './swarm-support.ts';

interface Member {
  readonly swarm: Swarm;
  readonly counts: Counts;
}

async function member(
  t: Test,
  seeds: readonly TestBlob[] = [],
  options: Partial<SwarmOptions> = {},
): Promise<Member> {
  const counts = countingObserver();
  const swarm = await createSwarm({
    listen: undefined,
    identity: await createIdentity(),
    peerListen: LOOPBACK,
    lookup: async (infoHash) => {
      const blob = seeds.find(({ metainfo }) => metainfo.infoHash === infoHash);
      return blob && { metainfo: blob.metainfo, store: memoryStore(blob.metainfo, blob.bytes) };
    },
    observer: counts.observer,
    log: quiet,
    ...options,
  });
  t.teardown(() => swarm.close());
  return { swarm, counts };
}

/** Where a member is reached over libp2p, and by plain TCP when it listens there. */
function addressOf({ swarm }: Member): PeerAddress {
  if (swarm.libp2p === undefined) throw new Error('does not listen');
  const { host, port, peerId } = swarm.libp2p;
  return { host, port: swarm.address?.port ?? port, libp2p: { port, peerId } };
}

function download(of: Member, blob: TestBlob, from: readonly PeerAddress[]): Promise<MemoryStore> {
  const store = memoryStore(blob.metainfo);
  const running = of.swarm.download({ metainfo: blob.metainfo, store });
  running.addPeers(from);
  return running.completed.then(() => store);
}

/** Stands before a member, counts who connects, and can cut what it carries. */
async function gate(
  t: Test,
  address: PeerAddress,
): Promise<{ address: PeerAddress; count: () => number; cut: () => void }> {
  const sockets = new Set<net.Socket>();
  let count = 0;
  const server = net.createServer((socket) => {
    count++;
    const onward = net.connect({ host: address.host, port: address.libp2p?.port ?? 0 });
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
  return {
    address: { host: '127.0.0.1', port, libp2p: { port, peerId: address.libp2p?.peerId ?? '' } },
    count: () => count,
    cut: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
  };
}

t.test('several blobs, both ways, over one connection', async (t) => {
  const blobs = [4_000_000, 3_000_000, 2_000_000, 1_000_000].map(makeBlob);
  const back = makeBlob(2_500_000);
  const seed = await member(t, blobs);
  const leech = await member(t, [back]);
  const before = await gate(t, addressOf(seed));
  const back1 = await gate(t, addressOf(leech));
  let mostStreams = 0;
  const watch = setInterval(() => {
    mostStreams = Math.max(mostStreams, leech.swarm.peers().length);
  }, 1);
  t.teardown(() => clearInterval(watch));
  const first = download(leech, blobs[0] ?? back, [before.address]);
  await until(() => leech.swarm.peers().length > 0, 'the connection');
  t.equal(leech.swarm.peers()[0]?.transport, 'libp2p');
  const stores = await Promise.all([
    first,
    ...blobs.slice(1).map((blob) => download(leech, blob, [before.address])),
    // The seed takes one too: it dials, and finds the connection that is there.
    download(seed, back, [back1.address]),
  ]);
  for (const [at, blob] of [...blobs, back].entries())
    t.ok(stores[at]?.bytes.equals(blob.bytes), `blob ${at}`);
  t.equal(before.count(), 1, 'one connection was made');
  t.equal(back1.count(), 0, 'and none the other way');
  t.ok(mostStreams > 1, `${mostStreams} streams at once`);
});

t.test('a member that speaks both is met by libp2p, or by TCP when that fails or comes first', async (t) => {
  const blob = makeBlob(1_000_000);
  const seed = await member(t, [blob], { listen: LOOPBACK });
  const address = addressOf(seed);
  const transports = async (leech: Member, at: PeerAddress): Promise<string[]> => {
    const seen = new Set<string>();
    const watch = setInterval(() => {
      for (const peer of leech.swarm.peers()) seen.add(peer.transport);
    }, 1);
    const store = await download(leech, blob, [at]);
    clearInterval(watch);
    t.ok(store.bytes.equals(blob.bytes));
    return [...seen];
  };
  t.same(await transports(await member(t), address), ['libp2p']);
  t.same(await transports(await member(t, [], { transports: ['tcp', 'libp2p'] }), address), ['tcp']);
  const elsewhere = { ...address, libp2p: { port: 1, peerId: address.libp2p?.peerId ?? '' } };
  t.same(await transports(await member(t), elsewhere), ['tcp']);
});

t.test('who is not admitted gets nothing, and others do', async (t) => {
  const blob = makeBlob(1_000_000);
  const stranger = await member(t, [], { transports: ['libp2p'] });
  const seed = await member(t, [blob], { admit: (peerId) => peerId !== stranger.swarm.libp2p?.peerId });
  const refused = download(stranger, blob, [addressOf(seed)]).catch((error: unknown) => error);
  const store = await download(await member(t), blob, [addressOf(seed)]);
  t.ok(store.bytes.equals(blob.bytes));
  t.equal(stranger.counts.in, 0);
  t.equal(stranger.counts.connected, 0);
  await stranger.swarm.close();
  t.match(await refused, Error);
});

t.test('garbage on the port disturbs nobody', async (t) => {
  const blob = makeBlob(3_000_000);
  const seed = await member(t, [blob]);
  const { host, libp2p } = addressOf(seed);
  const noise = Array.from({ length: 10 }, async (_, at) => {
    const socket = net.connect({ host, port: libp2p?.port ?? 0 });
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.end(Buffer.alloc(10_000 * at + 1, at));
    socket.resume();
    await once(socket, 'close');
  });
  const store = await download(await member(t), blob, [addressOf(seed)]);
  t.ok(store.bytes.equals(blob.bytes));
  await Promise.all(noise);
});

t.test('a connection that is cut ends all its streams, and is made again', async (t) => {
  const blobs = [6_000_000, 5_000_000].map(makeBlob);
  const seed = await member(t, blobs, { uploadRateBytesPerSecond: 8_000_000 });
  const leech = await member(t);
  const between = await gate(t, addressOf(seed));
  const both = blobs.map((blob) => download(leech, blob, [between.address]));
  await until(() => leech.swarm.peers().length === 2 && leech.counts.in > 1_000_000, 'both to move');
  between.cut();
  await until(() => leech.swarm.peers().length === 0, 'both to end');
  for (const [at, store] of (await Promise.all(both)).entries()) {
    t.ok(store.bytes.equals(blobs[at]?.bytes ?? Buffer.alloc(0)), `blob ${at}`);
  }
  t.equal(between.count(), 2);
});
