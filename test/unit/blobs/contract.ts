/** What every blob store promises. Run against each kind, on the real thing. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { Test } from 'tap';
import type { BlobReader, BlobStore } from '#blobs';
import { type Digest, parseDigest } from '#oci';
import { content, contentDigest, digestOf } from '../../support/content.ts';

export interface StoreUnderTest {
  blobs: BlobStore;
  reopen(): Promise<void>;
}

/** Over two parts of an S3 upload, and no whole number of anything. */
const LARGE = 11 * 1024 ** 2 + 11;
const MISSING = parseDigest(`sha256:${'0'.repeat(64)}`);

export function blobStoreContract(t: Test, name: string, open: (t: Test) => Promise<StoreUnderTest>): void {
  const put = async (store: StoreUnderTest, seed: number, size: number): Promise<Digest> => {
    const writer = await store.blobs.createWriter();
    await writer.append(Readable.from(content(seed, size)));
    const digest = parseDigest(contentDigest(seed, size));
    await writer.commit(digest);
    return digest;
  };
  const opened = async (store: StoreUnderTest, digest: Digest): Promise<BlobReader> => {
    const reader = await store.blobs.open(digest);
    if (!reader) throw new Error(`${digest} is not there`);
    return reader;
  };
  const readAll = async (store: StoreUnderTest, digest: Digest): Promise<string> => {
    const reader = await opened(store, digest);
    const got = await digestOf(reader.stream());
    await reader.close();
    return got.digest;
  };

  t.test(`${name}: what was committed is there whole, also after a restart`, async (t) => {
    const store = await open(t);
    const blobs = [await put(store, 1, LARGE), await put(store, 2, 1000), await put(store, 3, 0)];
    for (const round of ['before', 'after']) {
      for (const digest of blobs) t.equal(await readAll(store, digest), digest, `${round} the restart`);
      t.match(await store.blobs.stat(blobs[0] as Digest), { size: LARGE });
      t.same(store.blobs.totals(), { blobs: 3, bytes: LARGE + 1000 });
      const listed = [];
      for await (const { digest, size } of store.blobs.list()) listed.push(`${digest} ${size}`);
      const sizes = [LARGE, 1000, 0];
      t.same(listed.sort(), blobs.map((digest, index) => `${digest} ${sizes[index]}`).sort());
      await store.reopen();
    }
    t.equal(await store.blobs.open(MISSING), undefined);
    t.equal(await store.blobs.stat(MISSING), undefined);
    t.equal(await store.blobs.hashPieces(MISSING, 1000), undefined);
    await store.blobs.delete(MISSING);
  });

  t.test(`${name}: ranges and blocks, and what lies outside`, async (t) => {
    const store = await open(t);
    const bytes = Buffer.concat([...content(4, LARGE)]);
    const reader = await opened(store, await put(store, 4, LARGE));
    for (const [start, end] of [
      [0, 0],
      [5, 1_500_000],
      [4 * 1024 ** 2 - 1, 4 * 1024 ** 2],
      [LARGE - 1, LARGE - 1],
    ] as const) {
      const hash = createHash('sha256').update(bytes.subarray(start, end + 1));
      const got = await digestOf(reader.stream({ start, end }));
      t.same(got, { digest: `sha256:${hash.digest('hex')}`, size: end + 1 - start });
    }
    const blocks = Array.from({ length: 40 }, (_, index) => (index * 7_654_321) % (LARGE - 16_384));
    await Promise.all(
      blocks.map(async (position) => {
        const into = Buffer.alloc(16_384);
        await reader.read(position, into);
        if (!into.equals(bytes.subarray(position, position + into.length))) t.fail(`block at ${position}`);
      }),
    );
    const all = Buffer.alloc(LARGE);
    for (let at = 0; at < LARGE; at += 262_144) await reader.read(at, all.subarray(at, at + 262_144));
    t.ok(all.equals(bytes), 'read in order');
    await t.rejects(reader.read(LARGE - 1, Buffer.alloc(2)), { code: 'invalid' });
    t.throws(() => reader.stream({ start: 0, end: LARGE }), { code: 'invalid' });
    t.throws(() => reader.stream({ start: -1, end: 5 }), { code: 'invalid' });
    const cut = reader.stream();
    await new Promise((resolve) => cut.once('data', resolve));
    const gone = new Promise((resolve) => cut.once('close', resolve));
    cut.destroy();
    await gone;
    await reader.close();
    await t.rejects(reader.read(0, Buffer.alloc(1)), { code: 'closed' });
  });

  t.test(`${name}: the pieces of a blob`, async (t) => {
    const store = await open(t);
    const bytes = Buffer.concat([...content(5, LARGE)]);
    const digest = await put(store, 5, LARGE);
    const length = 256 * 1024;
    const expected = Buffer.concat(
      Array.from({ length: Math.ceil(LARGE / length) }, (_, index) =>
        createHash('sha1')
          .update(bytes.subarray(index * length, (index + 1) * length))
          .digest(),
      ),
    );
    for (const when of ['after the push', 'again']) {
      t.ok(expected.equals((await store.blobs.hashPieces(digest, length)) ?? Buffer.alloc(0)), when);
    }
  });

  t.test(`${name}: a wrong digest makes no blob and leaves the upload usable`, async (t) => {
    const store = await open(t);
    const writer = await store.blobs.createWriter();
    await writer.append(Readable.from(content(6, LARGE)));
    const wrong = parseDigest(contentDigest(7, LARGE));
    await t.rejects(writer.commit(wrong), { code: 'digest-mismatch' });
    t.equal(await store.blobs.open(wrong), undefined);
    const digest = parseDigest(contentDigest(6, LARGE));
    t.equal(await store.blobs.open(digest), undefined, 'nothing can be seen before the commit');
    await writer.commit(digest);
    t.equal(await readAll(store, digest), digest);
    await t.rejects(writer.append(Readable.from([])), { code: 'closed' });
  });

  t.test(`${name}: an upload goes on after a restart; a cancelled one is gone`, async (t) => {
    const store = await open(t);
    const bytes = Buffer.concat([...content(8, LARGE)]);
    const writer = await store.blobs.createWriter();
    await writer.append(Readable.from([bytes.subarray(0, 7_000_000)]));
    await store.reopen();
    const again = await store.blobs.resumeWriter(writer.id);
    t.equal(again?.size, 7_000_000);
    await again?.append(Readable.from([bytes.subarray(7_000_000)]));
    const digest = parseDigest(contentDigest(8, LARGE));
    await again?.commit(digest);
    t.equal(await readAll(store, digest), digest);
    t.equal(await store.blobs.resumeWriter(writer.id), undefined);
    const other = await store.blobs.createWriter();
    await other.append(Readable.from([Buffer.from('x')]));
    await other.cancel();
    t.equal(await store.blobs.resumeWriter(other.id), undefined);
    t.equal(await store.blobs.resumeWriter('../../etc/passwd'), undefined);
  });

  t.test(`${name}: what came of an upload can be read while more comes`, async (t) => {
    const store = await open(t);
    const bytes = Buffer.concat([...content(9, LARGE)]);
    const grown: number[] = [];
    const writer = await store.blobs.createWriter({ onGrowth: (size) => grown.push(size) });
    const into = Buffer.alloc(1000);
    async function* source(): AsyncGenerator<Buffer> {
      yield bytes.subarray(0, 5_000_000);
      yield bytes.subarray(5_000_000, 5_000_001);
      while (grown.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      await writer.read(1_234_567, into);
      t.ok(into.equals(bytes.subarray(1_234_567, 1_235_567)));
      await t.rejects(writer.read(LARGE - 1000, into), { code: 'invalid' });
      yield bytes.subarray(5_000_001);
    }
    await writer.append(source());
    t.equal(grown.at(-1), LARGE);
    await writer.read(LARGE - 1000, into);
    t.ok(into.equals(bytes.subarray(LARGE - 1000)));
    await writer.commit(parseDigest(contentDigest(9, LARGE)));
    await t.rejects(writer.read(0, into), { code: 'closed' });
  });

  t.test(`${name}: commits of the same bytes at the same time are one blob`, async (t) => {
    const store = await open(t);
    const digests = await Promise.all([1, 2, 3, 4].map(() => put(store, 9, LARGE)));
    t.equal(await readAll(store, digests[0] as Digest), digests[0]);
    t.same(store.blobs.totals(), { blobs: 1, bytes: LARGE });
  });

  t.test(`${name}: a deleted blob is gone at once, and whoever reads it goes on`, async (t) => {
    const store = await open(t);
    const bytes = Buffer.concat([...content(10, LARGE)]);
    const digest = await put(store, 10, LARGE);
    const reader = await opened(store, digest);
    const stream = reader.stream();
    await store.blobs.delete(digest);
    t.equal(await store.blobs.open(digest), undefined);
    t.equal(await store.blobs.stat(digest), undefined);
    t.same(store.blobs.totals(), { blobs: 0, bytes: 0 });
    const into = Buffer.alloc(100_000);
    await reader.read(9_000_000, into);
    t.ok(into.equals(bytes.subarray(9_000_000, 9_100_000)));
    await put(store, 10, LARGE);
    await reader.close();
    t.equal((await digestOf(stream)).digest, digest);
    t.equal(await readAll(store, digest), digest, 'pushed again meanwhile, it is there');
    await store.blobs.delete(digest);
    await store.reopen();
    t.equal(await store.blobs.open(digest), undefined, 'also after a restart');
  });
}
