import { createHash } from 'node:crypto';
import { readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { BlobStoreError } from '#blobs';
import { type Digest, parseDigest } from '#oci';
import { content, contentDigest, digestOf } from '../../support/content.ts';
import { openTestStore, type TestStore } from '../../support/store.ts';

const SIZE = 3 * 1024 ** 2 + 11;

async function put(store: TestStore, seed: number, size = SIZE): Promise<Digest> {
  const writer = await store.blobs.createWriter();
  await writer.append(Readable.from(content(seed, size)));
  const digest = parseDigest(contentDigest(seed, size));
  t.same((await writer.commit(digest)).size, size);
  return digest;
}

function fileOf(store: TestStore, digest: Digest): string {
  const hex = digest.slice('sha256:'.length);
  return path.join(store.root, 'blobs/sha256', hex.slice(0, 2), hex);
}

async function readAll(store: TestStore, digest: Digest): Promise<string | undefined> {
  const reader = await store.blobs.open(digest);
  const got = reader && (await digestOf(reader.stream()));
  await reader?.close();
  return got?.digest;
}

t.test('what was committed can be read, also after a restart', async (t) => {
  const store = await openTestStore(t);
  const digest = await put(store, 1);
  const empty = await put(store, 1, 0);
  for (const round of ['before', 'after']) {
    t.equal(await readAll(store, digest), digest, `${round} the restart`);
    t.equal(await readAll(store, empty), empty);
    t.match(await store.blobs.stat(digest), { digest, size: SIZE });
    t.same(store.blobs.totals(), { blobs: 2, bytes: SIZE });
    await store.reopen();
  }
  const reader = await store.blobs.open(digest);
  if (!reader) throw new Error('not there');
  const part = await digestOf(reader.stream({ start: 5, end: 1_500_000 }));
  const expected = createHash('sha256').update(Buffer.concat([...content(1, SIZE)]).subarray(5, 1_500_001));
  t.equal(part.digest, `sha256:${expected.digest('hex')}`);
  await t.rejects(reader.read(SIZE - 1, Buffer.alloc(2)), { code: 'invalid' });
  const stream = reader.stream();
  await store.blobs.delete(digest);
  await reader?.close();
  t.equal(
    (await digestOf(stream ?? Readable.from([]))).digest,
    digest,
    'a running stream survives delete and close',
  );
  t.equal(await store.blobs.open(digest), undefined);
  t.same(store.blobs.totals(), { blobs: 1, bytes: 0 });
});

t.test('an upload with the wrong digest stays usable', async (t) => {
  const store = await openTestStore(t);
  const writer = await store.blobs.createWriter();
  await writer.append(Readable.from(content(2, SIZE)));
  await t.rejects(writer.commit(parseDigest(contentDigest(3, SIZE))), { code: 'digest-mismatch' });
  const digest = parseDigest(contentDigest(2, SIZE));
  await writer.commit(digest);
  t.equal(await readAll(store, digest), digest);
  await t.rejects(writer.append(Readable.from([])), { code: 'closed' });
});

t.test('an upload goes on after a broken request and after a restart', async (t) => {
  const store = await openTestStore(t);
  const writer = await store.blobs.createWriter();
  const bytes = Buffer.concat([...content(4, SIZE)]);
  async function* broken(): AsyncGenerator<Buffer> {
    yield bytes.subarray(0, 1_000_000);
    throw new Error('the client is gone');
  }
  await t.rejects(writer.append(broken()), { message: 'the client is gone' });
  t.equal(writer.size, 1_000_000);
  await store.reopen();
  const [again, same] = await Promise.all([
    store.blobs.resumeWriter(writer.id),
    store.blobs.resumeWriter(writer.id),
  ]);
  t.equal(again, same, 'one writer an upload');
  t.equal(again?.size, 1_000_000);
  await again?.append(Readable.from([bytes.subarray(1_000_000)]));
  await again?.commit(parseDigest(contentDigest(4, SIZE)));
  t.equal(await store.blobs.resumeWriter(writer.id), undefined, 'a committed upload is gone');
  for (const id of ['../../../etc/passwd', '', '00000000-0000-0000-0000-000000000000']) {
    t.equal(await store.blobs.resumeWriter(id), undefined, id);
  }
});

t.test('limits, busy and cancel', async (t) => {
  const store = await openTestStore(t);
  const writer = await store.blobs.createWriter();
  await t.rejects(writer.append(Readable.from([Buffer.alloc(11)]), { maxBytes: 10 }), { code: 'too-large' });
  const slow = new Readable({ read() {} });
  const running = writer.append(slow);
  await t.rejects(writer.append(Readable.from([])), { code: 'busy' });
  slow.push(Buffer.from('x'));
  slow.push(null);
  await running;
  await writer.cancel();
  t.same(await readdir(path.join(store.root, 'blobs/uploads')), []);
});

t.test('two commits of the same bytes are one blob', async (t) => {
  const store = await openTestStore(t);
  const digests = await Promise.all([put(store, 5), put(store, 5), put(store, 5)]);
  t.equal(await readAll(store, digests[0]), digests[0]);
  t.same(store.blobs.totals(), { blobs: 1, bytes: SIZE });
  t.same(await readdir(path.join(store.root, 'blobs/uploads')), []);
});

t.test('a file that changed on disk is set aside before a byte is served', async (t) => {
  const store = await openTestStore(t);
  const digest = await put(store, 6);
  const file = fileOf(store, digest);
  const bytes = await readFile(file);
  bytes[1000] = (bytes[1000] ?? 0) ^ 1;
  await rm(file);
  await writeFile(file, bytes);
  t.equal(await store.blobs.open(digest), undefined);
  t.equal((await readdir(path.join(store.root, 'blobs/quarantine'))).length, 1);
  t.same(store.blobs.totals(), { blobs: 0, bytes: 0 });
  await put(store, 6);
  t.equal(await readAll(store, digest), digest, 'it can be stored again');
});

t.test('a file that was only touched, or that the index lacks, is hashed and kept', async (t) => {
  const store = await openTestStore(t);
  const digest = await put(store, 7);
  await utimes(fileOf(store, digest), 1, 1);
  t.equal(await readAll(store, digest), digest);
  t.same(store.blobs.totals(), { blobs: 1, bytes: SIZE });

  const other = await openTestStore(t);
  const lost = await put(other, 8);
  const moved = fileOf(store, lost);
  await rm(path.dirname(moved), { recursive: true, force: true });
  await rename(path.dirname(fileOf(other, lost)), path.dirname(moved));
  t.match(await store.blobs.stat(lost), { size: SIZE });
  t.equal(await readAll(store, lost), lost);
  t.equal(await other.blobs.open(lost), undefined, 'a file that went away is forgotten');
  t.same(other.blobs.totals(), { blobs: 0, bytes: 0 });
});

t.test('the error names what happened', async (t) => {
  t.match(new BlobStoreError('no-space').message, /ENOSPC/);
});
