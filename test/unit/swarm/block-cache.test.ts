import t from 'tap';
import type { PieceStore } from '#swarm';
import { createBlockCache } from '../../../src/swarm/webtorrent/block-cache.ts';

const KIB = 1024;

function countingStore(bytes: Buffer): PieceStore & { reads: number[] } {
  const store = {
    reads: [] as number[],
    has: () => true,
    read: async (position: number, into: Uint8Array) => {
      store.reads.push(into.length);
      bytes.copy(into, 0, position, position + into.length);
    },
    write: async () => {},
  };
  return store;
}

const bytes = Buffer.from(Array.from({ length: 700 * KIB }, (_, n) => (n * 31) & 0xff));

t.test('neighbouring blocks cost one read, of verified bytes only', async (t) => {
  const cache = createBlockCache();
  const store = countingStore(bytes);
  const piece = { position: 100 * KIB, size: 600 * KIB };
  const blocks = await Promise.all(
    [0, 16, 32, 240].map((kib) => cache.read(store, piece, kib * KIB, 16 * KIB)),
  );
  t.strictSame(store.reads, [256 * KIB]);
  t.ok(Buffer.from(blocks[3] ?? []).equals(bytes.subarray(340 * KIB, 356 * KIB)));
  const last = await cache.read(store, piece, 590 * KIB, 10 * KIB);
  t.ok(Buffer.from(last).equals(bytes.subarray(690 * KIB, 700 * KIB)));
  t.strictSame(store.reads, [256 * KIB, 88 * KIB], 'the window ends with the piece');
  const across = await cache.read(store, piece, 250 * KIB, 16 * KIB);
  t.ok(Buffer.from(across).equals(bytes.subarray(350 * KIB, 366 * KIB)));
});

t.test('stores do not share windows, and a failed read is tried again', async (t) => {
  const cache = createBlockCache();
  const piece = { position: 0, size: 256 * KIB };
  const store = countingStore(bytes);
  const other = countingStore(Buffer.alloc(256 * KIB, 7));
  await cache.read(store, piece, 0, 1);
  t.equal((await cache.read(other, piece, 0, 1))[0], 7);
  let broken = true;
  const failing: PieceStore = {
    ...store,
    read: (position, into) => (broken ? Promise.reject(new Error('EIO')) : store.read(position, into)),
  };
  await t.rejects(cache.read(failing, piece, 0, 1), /EIO/);
  broken = false;
  t.equal((await cache.read(failing, piece, 1, 1))[0], bytes[1]);
});

t.test('the memory is bounded', async (t) => {
  const cache = createBlockCache();
  const store = countingStore(bytes);
  for (let n = 0; n < 100; n++) await cache.read(store, { position: n, size: 256 }, 0, 16);
  t.equal(store.reads.length, 100);
  await cache.read(store, { position: 99, size: 256 }, 0, 16);
  t.equal(store.reads.length, 100, 'the newest is still there');
  await cache.read(store, { position: 0, size: 256 }, 0, 16);
  t.equal(store.reads.length, 101, 'the oldest is gone');
});
