import { readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import { type Digest, parseDigest } from '#oci';
import { createMetainfo, type Metainfo } from '#torrent';
import { content, contentDigest, digestOf } from '../../support/content.ts';
import { openTestStore, type TestStore } from '../../support/store.ts';

const SIZE = 3 * 256 * 1024;

async function put(store: TestStore, seed: number): Promise<Digest> {
  const writer = await store.blobs.createWriter();
  await writer.append(Readable.from(content(seed, SIZE)));
  const digest = parseDigest(contentDigest(seed, SIZE));
  await writer.commit(digest);
  return digest;
}

function fileOf(store: TestStore, digest: Digest): string {
  const hex = digest.slice('sha256:'.length);
  return path.join(store.root, 'blobs/sha256', hex.slice(0, 2), hex);
}

async function download(store: TestStore, seed: number): Promise<{ metainfo: Metainfo; bytes: Buffer }> {
  const bytes = Buffer.concat([...content(seed, SIZE)]);
  const file = path.join(store.root, `source-${seed}`);
  await writeFile(file, bytes);
  const pieces = await store.hashing.hashPieces(file, 256 * 1024);
  return {
    bytes,
    metainfo: createMetainfo({ digest: parseDigest(contentDigest(seed, SIZE)), length: SIZE, pieces }),
  };
}

const piece = (bytes: Buffer, index: number): Buffer =>
  bytes.subarray(index * 256 * 1024, (index + 1) * 256 * 1024);

t.test('stat does not vouch for a file that is gone or changed', async (t) => {
  const store = await openTestStore(t);
  const gone = await put(store, 21);
  await rm(fileOf(store, gone));
  t.equal(await store.blobs.stat(gone), undefined);
  const changed = await put(store, 22);
  await rm(fileOf(store, changed));
  await writeFile(fileOf(store, changed), Buffer.alloc(SIZE));
  t.equal(await store.blobs.stat(changed), undefined);
  t.same(store.blobs.totals(), { blobs: 0, bytes: 0 });
});

t.test('a stream outside the blob is refused before it starts', async (t) => {
  const store = await openTestStore(t);
  const reader = await store.blobs.open(await put(store, 23));
  t.teardown(() => reader?.close());
  t.throws(() => reader?.stream({ start: 0, end: SIZE }), { code: 'invalid' });
  t.throws(() => reader?.stream({ start: -1, end: 5 }), { code: 'invalid' });
});

t.test('an aborted stream and its reader let go of the file', async (t) => {
  const store = await openTestStore(t);
  const digest = await put(store, 24);
  const held = async (): Promise<number> => {
    let count = 0;
    for (const fd of await readdir('/proc/self/fd')) {
      const { ino } = await stat(`/proc/self/fd/${fd}`).catch(() => ({ ino: 0 }));
      if (ino === (await stat(fileOf(store, digest))).ino) count += 1;
    }
    return count;
  };
  const reader = await store.blobs.open(digest);
  const streams = [reader?.stream(), reader?.stream({ start: 9, end: 99 })];
  await reader?.close();
  t.equal(await held(), 1, 'streams share one descriptor');
  for (const stream of streams) {
    const closed = new Promise((resolve) => stream?.once('close', resolve));
    stream?.destroy();
    await closed;
  }
  t.equal(await held(), 0);
});

t.test('a download is committed although the thread that followed it died', async (t) => {
  const workers: Worker[] = [];
  const remember = (worker: Worker): void => void workers.push(worker);
  process.on('worker', remember);
  t.teardown(() => process.off('worker', remember));
  const store = await openTestStore(t);
  const { bytes, metainfo } = await download(store, 25);
  const partial = await store.blobs.openPartial(metainfo);
  for (const index of [0, 1]) await partial.write(index, piece(bytes, index), 'peer');
  // From outside, unlike by close(), a thread's end does not keep the test's process alive.
  const alive = setInterval(() => undefined, 1000);
  t.teardown(() => clearInterval(alive));
  await Promise.all(workers.map((worker) => worker.terminate()));
  await partial.write(2, piece(bytes, 2), 'peer');
  t.match(await partial.commit(), { size: SIZE });
  await partial.close();
});

t.test('a commit that runs is not disturbed by a second one or by close', async (t) => {
  const store = await openTestStore(t);
  const { bytes, metainfo } = await download(store, 26);
  const partial = await store.blobs.openPartial(metainfo);
  for (const index of [0, 1, 2]) await partial.write(index, piece(bytes, index), 'peer');
  const first = partial.commit();
  const second = t.rejects(partial.commit(), { code: 'busy' });
  const closing = partial.close();
  t.match(await first, { size: SIZE });
  await Promise.all([second, closing]);
  t.same(await readdir(path.join(store.root, 'blobs/partial')), []);
  await (await store.blobs.openPartial(metainfo)).discard();
});

t.test('a download begun while the one before is discarded keeps its files', async (t) => {
  const store = await openTestStore(t);
  const { bytes, metainfo } = await download(store, 27);
  for (let round = 0; round < 20; round += 1) {
    const before = await store.blobs.openPartial(metainfo);
    await before.write(0, piece(bytes, 0), 'peer');
    let discarded = false;
    const discarding = before.discard().then(() => {
      discarded = true;
    });
    let next = await store.blobs.openPartial(metainfo).catch(() => undefined);
    while (!next && !discarded) {
      await new Promise((resolve) => setImmediate(resolve));
      next = await store.blobs.openPartial(metainfo).catch(() => undefined);
    }
    await discarding;
    next ??= await store.blobs.openPartial(metainfo);
    for (const index of [0, 1, 2]) await next.write(index, piece(bytes, index), 'peer');
    await next.commit();
    await next.close();
    await store.blobs.delete(metainfo.digest);
  }
});

t.test('a closed store gives out nothing', async (t) => {
  const store = await openTestStore(t);
  const writer = await store.blobs.createWriter();
  const { metainfo } = await download(store, 28);
  const old = store.blobs;
  await store.reopen();
  await t.rejects(old.createWriter(), { code: 'closed' });
  await t.rejects(old.resumeWriter(writer.id), { code: 'closed' });
  await t.rejects(old.openPartial(metainfo), { code: 'closed' });
});

t.test('closing an upload in the middle of an append leaves what it told', async (t) => {
  const store = await openTestStore(t);
  const writer = await store.blobs.createWriter();
  const source = new Readable({ read() {} });
  const appending = t.rejects(writer.append(source), { code: 'closed' });
  source.push(Buffer.from('first'));
  while (writer.size < 5) await new Promise((resolve) => setImmediate(resolve));
  const closing = writer.close();
  source.push(Buffer.from('second'));
  await Promise.all([appending, closing]);
  const again = await store.blobs.resumeWriter(writer.id);
  t.equal(again?.size, 5);
  await again?.append(Readable.from([Buffer.from('!')]));
  const digest = (await digestOf(Readable.from([Buffer.from('first!')]))).digest;
  t.match(await again?.commit(parseDigest(digest)), { size: 6 });
});

t.test('uploads that nobody goes on with are removed after a week', async (t) => {
  const store = await openTestStore(t);
  const old = await store.blobs.createWriter();
  const fresh = await store.blobs.createWriter();
  const eightDaysAgo = Date.now() / 1000 - 8 * 24 * 3600;
  await utimes(path.join(store.root, 'blobs/uploads', old.id), eightDaysAgo, eightDaysAgo);
  await store.reopen();
  t.same(await readdir(path.join(store.root, 'blobs/uploads')), [fresh.id]);
});
