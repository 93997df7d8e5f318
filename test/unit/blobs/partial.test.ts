import { createHash } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { parseDigest } from '#oci';
import { createMetainfo, type Metainfo, pieceCount, pieceLengthFor, pieceSize } from '#torrent';
import { content, contentDigest, digestOf } from '../../support/content.ts';
import { openTestStore } from '../../support/store.ts';

const SIZE = 5 * 256 * 1024 + 99;

function sample(
  seed: number,
  size = SIZE,
): { bytes: Buffer; metainfo: Metainfo; piece(index: number): Buffer } {
  const bytes = Buffer.concat([...content(seed, size)]);
  const length = pieceLengthFor(size);
  const hashes: Buffer[] = [];
  for (let at = 0; at < size; at += length) {
    hashes.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + length))
        .digest(),
    );
  }
  const metainfo = createMetainfo({
    digest: parseDigest(contentDigest(seed, size)),
    length: size,
    pieces: Buffer.concat(hashes),
  });
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
