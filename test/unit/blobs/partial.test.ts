import { open, readdir } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { createDraft, type Metainfo, pieceCount, pieceSize } from '#torrent';
import { content, digestOf } from '../../support/content.ts';
import { metainfoOf } from '../../support/metainfo.ts';
import { openTestStore } from '../../support/store.ts';

const SIZE = 5 * 256 * 1024 + 99;

function sample(
  seed: number,
  size = SIZE,
): { bytes: Buffer; metainfo: Metainfo; piece(index: number): Buffer } {
  const bytes = Buffer.concat([...content(seed, size)]);
  const metainfo = metainfoOf(bytes);
  const length = metainfo.pieceLength;
  return {
    bytes,
    metainfo,
    piece: (index) => bytes.subarray(index * length, index * length + pieceSize(metainfo, index)),
  };
}

t.test('pieces in any order become the blob', async (t) => {
  const store = await openTestStore(t);
  let seed = 100;
  await fc.assert(
    fc.asyncProperty(fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 6 }), async (order) => {
      seed += 1;
      const { metainfo, piece, bytes } = sample(seed);
      const partial = await store.blobs.openPartial(metainfo);
      for (const index of order) await partial.write(index, piece(index), 'peer');
      const into = Buffer.alloc(SIZE);
      await partial.read(0, into);
      await partial.commit();
      await partial.read(0, into);
      await partial.close();
      const reader = await store.blobs.open(metainfo.digest);
      const got = reader && (await digestOf(reader.stream()));
      await reader?.close();
      return into.equals(bytes) && got?.digest === metainfo.digest;
    }),
    { numRuns: 12 },
  );
  t.same(await readdir(path.join(store.root, 'blobs/partial')), []);
});

t.test('a later run finds the verified pieces and their sources, and no damaged one', async (t) => {
  const store = await openTestStore(t);
  const { metainfo, piece } = sample(1);
  const first = await store.blobs.openPartial(metainfo);
  await t.rejects(store.blobs.openPartial(metainfo), { code: 'busy' });
  await first.write(0, piece(0), 'peer');
  await first.write(3, piece(3), 'origin-http');
  await first.write(5, piece(5), 'origin-swarm');
  await t.rejects(first.write(1, piece(0).subarray(1), 'peer'), { code: 'invalid' });
  await t.rejects(first.read(256 * 1024, Buffer.alloc(1)), { code: 'invalid' });
  await t.rejects(first.commit(), { code: 'invalid' });
  await first.close();

  const hex = metainfo.digest.slice('sha256:'.length);
  const file = await open(path.join(store.root, 'blobs/partial', `${hex}.data`), 'r+');
  await file.write(Buffer.from('damage'), 0, 6, 3 * 256 * 1024 + 10);
  await file.close();
  await store.reopen();

  const second = await store.blobs.openPartial(metainfo);
  t.same(
    [0, 1, 2, 3, 4, 5].map((index) => second.source(index)),
    ['peer', undefined, undefined, undefined, undefined, 'origin-swarm'],
  );
  t.equal(second.verifiedBytes, 256 * 1024 + 99);
  for (let index = 0; index < pieceCount(metainfo); index += 1)
    await second.write(index, piece(index), 'peer');
  t.match(await second.commit(), { size: SIZE });
  await second.close();
});

t.test('wrong bytes never become a blob', async (t) => {
  const store = await openTestStore(t);
  const { metainfo, piece } = sample(2);
  const partial = await store.blobs.openPartial(metainfo);
  for (let index = 0; index < 5; index += 1) await partial.write(index, piece(index), 'peer');
  await partial.write(5, Buffer.alloc(99), 'peer');
  await t.rejects(partial.commit(), { code: 'digest-mismatch' });
  t.equal(await store.blobs.open(metainfo.digest), undefined);
  t.same(await readdir(path.join(store.root, 'blobs/partial')), []);
  const again = await store.blobs.openPartial(metainfo);
  t.equal(again.verifiedBytes, 0);
  await again.discard();
});

t.test('a blob that cannot fit is refused before a byte is fetched', async (t) => {
  const store = await openTestStore(t);
  const metainfo = {
    ...sample(3).metainfo,
    length: 2 ** 45,
    pieceLength: 2 ** 43,
    pieces: new Uint8Array(80),
  };
  await t.rejects(store.blobs.openPartial(metainfo), { code: 'no-space' });
});

t.test('pieces of an earlier run are taken up by a draft as their hashes become known', async (t) => {
  const store = await openTestStore(t);
  const { metainfo, piece, bytes } = sample(977);
  const first = await store.blobs.openPartial(metainfo);
  for (const index of [0, 2, 3, 4]) await first.write(index, piece(index), index === 2 ? 'peer' : 'upstream');
  await first.close();
  const file = await open(path.join(store.root, `blobs/partial/${metainfo.digest.slice(7)}.data`), 'r+');
  await file.write(Buffer.from('damage'), 0, 6, 3 * metainfo.pieceLength);
  await file.close();

  const growing = createDraft({ digest: metainfo.digest, length: metainfo.length });
  const hashes = (from: number, to: number): Uint8Array => metainfo.pieces.subarray(20 * from, 20 * to);
  growing.add(hashes(0, 1));
  const second = await store.blobs.openPartial(growing.draft);
  t.same(
    [0, 1, 2, 3, 4, 5].map((index) => second.has(index)),
    [true, false, false, false, false, false],
  );
  growing.add(hashes(1, 3));
  t.equal(await second.recheck(1), undefined);
  t.equal(await second.recheck(2), 'peer');
  t.equal(await second.recheck(2), undefined, 'it is here');
  t.ok(second.has(2));
  t.equal(second.verifiedBytes, 2 * metainfo.pieceLength);
  // What was not asked for yet is still there for the next run, by the real metainfo.
  await second.close();
  const third = await store.blobs.openPartial(metainfo);
  t.same(
    [0, 1, 2, 3, 4, 5].map((index) => third.has(index)),
    [true, false, true, false, true, false],
  );
  for (const index of [1, 3, 5]) await third.write(index, piece(index), 'peer');
  await third.commit();
  const into = Buffer.alloc(SIZE);
  await third.read(0, into);
  t.ok(into.equals(bytes));
  await third.close();
});
