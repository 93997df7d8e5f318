import t, { type Test } from 'tap';
import { createSwarm, type Swarm, type SwarmDownload, type SwarmOptions } from '#swarm';
import { pieceCount } from '#torrent';
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
  readonly opened: MemoryStore[];
}

async function member(
  test: Test,
  seeds: readonly TestBlob[] = [],
  options: Partial<SwarmOptions> = {},
): Promise<Member> {
  const counts = countingObserver();
  const opened: MemoryStore[] = [];
  const swarm = await createSwarm({
    listen: LOOPBACK,
    lookup: async (infoHash) => {
      const blob = seeds.find(({ metainfo }) => metainfo.infoHash === infoHash);
      if (blob === undefined) return undefined;
      const store = memoryStore(blob.metainfo, blob.bytes);
      opened.push(store);
      return { metainfo: blob.metainfo, store };
    },
    observer: counts.observer,
    log: quiet,
    ...options,
  });
  test.teardown(() => swarm.close());
  return { swarm, counts, opened };
}

function addressOf(
  swarm: Swarm,
  role: 'agent' | 'origin' = 'agent',
): { host: string; port: number; role: 'agent' | 'origin' } {
  const address = swarm.address;
  if (address === undefined) throw new Error('does not listen');
  return { ...address, role };
}

function start(
  of: Member,
  blob: TestBlob,
  from: readonly Swarm[],
): { download: SwarmDownload; store: MemoryStore } {
  const store = memoryStore(blob.metainfo);
  const download = of.swarm.download({ metainfo: blob.metainfo, store });
  download.addPeers(from.map((swarm) => addressOf(swarm)));
  return { download, store };
}

t.test('a blob goes from a lazy seed to a member, and the seed closes when idle', async (t) => {
  const blob = makeBlob(5_000_000);
  const seed = await member(t, [blob], { idleSeedMs: 50 });
  const leech = await member(t);
  t.equal(seed.swarm.openBlobs(), 0);
  const { download, store } = start(leech, blob, [seed.swarm]);
  const pieces: number[] = [];
  download.onPiece((piece) => pieces.push(piece));
  await download.completed;
  t.ok(store.bytes.equals(blob.bytes));
  t.equal(new Set(pieces).size, pieceCount(blob.metainfo));
  t.equal(pieces.length, pieceCount(blob.metainfo));
  t.equal(leech.counts.in, blob.bytes.length);
  t.equal(download.stats().bytesFromPeers, blob.bytes.length);
  t.equal(seed.opened.length, 1);
  await until(() => seed.swarm.openBlobs() === 0, 'the idle seed to close');
  t.equal(seed.opened[0]?.closed, true);
  await download.close();
  t.equal(leech.swarm.openBlobs(), 0);
});

t.test('six members share one seed', async (t) => {
  const blob = makeBlob(6_000_000);
  const seed = await member(t, [blob]);
  const members = await Promise.all(Array.from({ length: 5 }, () => member(t)));
  const all = [seed.swarm, ...members.map((one) => one.swarm)];
  const downloads = members.map((one) =>
    start(
      one,
      blob,
      all.filter((swarm) => swarm !== one.swarm),
    ),
  );
  await Promise.all(downloads.map(({ download }) => download.completed));
  for (const { store } of downloads) t.ok(store.bytes.equals(blob.bytes));
  t.ok(
    members.some((one) => one.counts.out > 0),
    'members upload too',
  );
});

t.test('a completed download seeds from its new store', async (t) => {
  const blob = makeBlob(1_000_000);
  const seed = await member(t, [blob]);
  const first = await member(t);
  const { download } = start(first, blob, [seed.swarm]);
  await download.completed;
  const kept = memoryStore(blob.metainfo, blob.bytes);
  download.seedFrom(kept);
  const second = await member(t);
  const other = start(second, blob, [first.swarm]);
  await other.download.completed;
  t.ok(other.store.bytes.equals(blob.bytes));
  await first.swarm.release(blob.metainfo.infoHash);
  t.equal(kept.closed, true);
  t.equal(first.swarm.openBlobs(), 0);
});

t.test('pieces from elsewhere count, wrong ones do not', async (t) => {
  const blob = makeBlob(1_000_000);
  const leech = await member(t);
  const { download, store } = start(leech, blob, []);
  const { pieceLength } = blob.metainfo;
  t.equal(download.stats().unavailablePieces, 4);
  t.equal(await download.offer(0, blob.bytes.subarray(1, pieceLength + 1), 'origin-http'), false);
  t.equal(await download.offer(0, blob.bytes.subarray(0, 10), 'origin-http'), false);
  t.equal(store.has(0), false);
  for (let piece = 0; piece < 4; piece++) {
    const bytes = blob.bytes.subarray(piece * pieceLength, (piece + 1) * pieceLength);
    t.equal(await download.offer(piece, bytes, 'origin-http'), true);
  }
  await download.completed;
  t.equal(store.sources.get(1), 'origin-http');
});

t.test('closing a download rejects it and leaves the partial store', async (t) => {
  const blob = makeBlob(1_000_000);
  const leech = await member(t);
  const { download, store } = start(leech, blob, []);
  t.throws(() => leech.swarm.download({ metainfo: blob.metainfo, store }), /already/);
  await download.close();
  await t.rejects(download.completed, /closed/);
  t.equal(store.closed, false);
});

t.test('a store that cannot be written ends the download', async (t) => {
  const blob = makeBlob(1_000_000);
  const seed = await member(t, [blob]);
  const leech = await member(t);
  const store = memoryStore(blob.metainfo);
  store.write = async () => {
    throw new Error('ENOSPC: no space left');
  };
  const download = leech.swarm.download({ metainfo: blob.metainfo, store });
  download.addPeers([addressOf(seed.swarm)]);
  await t.rejects(download.completed, /ENOSPC/);
});

t.test('a seed that cannot be read is given up and reported', async (t) => {
  const blob = makeBlob(1_000_000);
  const seed = await member(t, [], {
    lookup: async () => {
      const store = memoryStore(blob.metainfo, blob.bytes);
      store.read = async () => {
        throw new Error('EIO');
      };
      return { metainfo: blob.metainfo, store };
    },
  });
  const leech = await member(t);
  start(leech, blob, [seed.swarm]);
  await until(() => seed.counts.unreadable.length > 0, 'the report');
  t.strictSame(seed.counts.unreadable, [blob.metainfo.infoHash]);
  t.equal(seed.swarm.openBlobs(), 0);
});

t.test('two members that dial each other keep one connection', async (t) => {
  const blob = makeBlob(3_000_000);
  const a = await member(t);
  const b = await member(t);
  const one = start(a, blob, [b.swarm]);
  const two = start(b, blob, [a.swarm]);
  await until(() => a.swarm.peers().length === 1 && b.swarm.peers().length === 1, 'the connection');
  const seed = await member(t, [blob]);
  one.download.addPeers([addressOf(seed.swarm)]);
  await Promise.all([one.download.completed, two.download.completed]);
  t.ok(two.store.bytes.equals(blob.bytes));
});

t.test('the origin is used when nobody else suffices', async (t) => {
  const blob = makeBlob(2_000_000);
  const origin = await member(t, [blob]);
  const leech = await member(t);
  const store = memoryStore(blob.metainfo);
  const download = leech.swarm.download({ metainfo: blob.metainfo, store });
  download.addPeers([addressOf(origin.swarm, 'origin')]);
  await download.completed;
  t.equal(download.stats().bytesFromOrigin, blob.bytes.length);
  t.equal(store.sources.get(0), 'origin-swarm');
});
