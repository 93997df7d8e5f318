/** Pushes when the disk, the index or the caller does what it should not. Faults are put between the writer and a real file. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import type { BlobInfo } from '#blobs';
import { createHashing } from '#hashing';
import { digestOf, sha256DigestOf } from '#oci';
import { createWriter, type WriterOwner } from '../../../src/blobs/writer.ts';
import { openTestStore } from '../../support/store.ts';

const MIB = 1024 * 1024;

type Fault = (of: FileHandle, ...given: never[]) => Promise<unknown>;

/** A real file whose handle fails as it is told: each fault is of one call, the next ones go through. */
async function faulty(t: Test, owner: Partial<WriterOwner> = {}) {
  const file = path.join(t.testdir(), 'upload');
  const handle = await open(file, 'wx+');
  const hashing = createHashing({ threads: 1 });
  t.teardown(() => hashing.close());
  const faults = new Map<string | symbol, Fault[]>();
  const ended: string[] = [];
  const between = new Proxy(handle, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...given: never[]) => {
        const fault = faults.get(name)?.shift();
        return fault ? fault(target, ...given) : (value as (...of: never[]) => unknown).apply(target, given);
      };
    },
  });
  const writer = createWriter('id', file, between, 0, {
    hashing,
    adopt: async (_path, _handle, digest, size): Promise<BlobInfo> => ({ digest, size, lastUsedAt: 0 }),
    syncName: async () => undefined,
    ended: (id) => void ended.push(id),
    ...owner,
  });
  t.teardown(() => writer.close().catch(() => undefined));
  const fail = (call: keyof FileHandle, ...with_: Fault[]): void => void faults.set(call, with_);
  return { file, handle, writer, fail, ended, hashing };
}

const refuse =
  (code: string): Fault =>
  async () => {
    throw Object.assign(new Error(code), { code });
  };

/** Writes half of what it is given, and then fails. */
const half: Fault = async (of, ...given) => {
  const [chunks, at] = given as unknown as [Uint8Array[], number];
  const whole = Buffer.concat(chunks);
  await of.write(whole.subarray(0, whole.length / 2), 0, Math.floor(whole.length / 2), at);
  throw Object.assign(new Error('EIO'), { code: 'EIO' });
};

const append = (writer: { append(source: AsyncIterable<Uint8Array>): Promise<void> }, bytes: Uint8Array) =>
  writer.append(Readable.from([bytes]));

t.test('half a write that cannot be cut off at once does not count, also after a power cut', async (t) => {
  const { file, writer, fail } = await faulty(t);
  const [first, second] = [randomBytes(1000), randomBytes(500)];
  await append(writer, first);
  fail('writev', half);
  fail('truncate', refuse('EIO'), refuse('EIO'));
  await t.rejects(append(writer, randomBytes(4000)), { code: 'EIO' });
  t.equal((await stat(file)).size, 3000, 'it is there');
  t.equal(writer.size, 1000);
  await t.rejects(writer.sync(), { code: 'EIO' }, 'nothing is acknowledged in front of it');
  await writer.sync();
  t.equal((await stat(file)).size, 1000);
  await append(writer, second);
  t.ok((await readFile(file)).equals(Buffer.concat([first, second])));
  t.match(await writer.commit(sha256DigestOf(Buffer.concat([first, second]))), { size: 1500 });
});

t.test('a shorter write over such a rest leaves nothing of it', async (t) => {
  const { file, writer, fail } = await faulty(t);
  fail('writev', half);
  fail('truncate', refuse('EIO'));
  await t.rejects(append(writer, randomBytes(4000)), { code: 'EIO' });
  const bytes = randomBytes(10);
  await append(writer, bytes);
  t.ok((await readFile(file)).equals(bytes));
});

t.test('a full disk is told as that, and the upload goes on when there is room', async (t) => {
  const { writer, fail } = await faulty(t);
  const bytes = randomBytes(3 * MIB);
  await append(writer, bytes.subarray(0, 2 * MIB));
  fail('writev', refuse('ENOSPC'));
  await t.rejects(append(writer, bytes.subarray(2 * MIB)), { code: 'no-space' });
  t.equal(writer.size, 2 * MIB);
  await append(writer, bytes.subarray(2 * MIB));
  t.match(await writer.commit(sha256DigestOf(bytes)), { size: bytes.length });
});

t.test('a file system that takes nothing is an error, not an endless loop', async (t) => {
  const { writer, fail } = await faulty(t);
  fail('writev', async () => ({ bytesWritten: 0 }));
  await t.rejects(append(writer, randomBytes(10)), { message: /takes no more bytes/ });
});

t.test('a commit whose index could not be written is tried again, the file moved already', async (t) => {
  // Bytes are hashed by sha256 while they come; a sha512 is computed from the file at the commit.
  for (const algorithm of ['sha256', 'sha512'] as const) {
    for (const size of [1000, 3 * MIB]) {
      const store = await openTestStore(t);
      const bytes = randomBytes(size);
      const digest = digestOf(algorithm, bytes);
      const writer = await store.blobs.createWriter();
      await append(writer, bytes);
      const batch = store.level.batch.bind(store.level);
      store.level.batch = (() => Promise.reject(new Error('the index is full'))) as never;
      await t.rejects(writer.commit(digest), { message: /the index is full/ });
      t.same(await readdir(path.join(store.root, 'blobs/uploads')), [], 'it is in its place');
      store.level.batch = batch;
      t.match(await writer.commit(digest), { size });
      t.equal(await store.blobs.verify(digest), 'good');
      t.same(store.blobs.totals(), { blobs: 1, bytes: size });
    }
  }
});

t.test('closing twice, after a commit, during one, and with a handle that will not close', async (t) => {
  const bytes = randomBytes(2 * MIB);
  const done = await faulty(t);
  await append(done.writer, bytes);
  const committing = done.writer.commit(sha256DigestOf(bytes));
  const during = done.writer.close();
  t.match(await committing, { size: bytes.length });
  await Promise.all([during, done.writer.close(), done.writer.close()]);
  t.same(done.ended, ['id'], 'its owner is told once');
  await t.rejects(done.writer.cancel(), { code: 'closed' });
  await t.rejects(done.writer.sync(), { code: 'closed' });

  const stuck = await faulty(t);
  await append(stuck.writer, bytes);
  stuck.fail('close', async (handle) => {
    await handle.close();
    throw new Error('EIO');
  });
  await t.rejects(stuck.writer.close(), { message: 'EIO' });
  t.same(stuck.ended, ['id'], 'also then');
});

t.test('one thing at a time: what comes in between is refused and disturbs nothing', async (t) => {
  const { writer, ended } = await faulty(t);
  const source = new Readable({ read() {} });
  const appending = writer.append(source);
  source.push(Buffer.from('first'));
  const others: (() => Promise<void>)[] = [
    () => append(writer, Buffer.from('x')),
    () => writer.sync(),
    async () => void (await writer.commit(sha256DigestOf(Buffer.from('first')))),
    () => writer.cancel(),
  ];
  for (const other of others) {
    await t.rejects(other(), { code: 'busy' });
  }
  source.push(null);
  await appending;
  t.match(await writer.commit(sha256DigestOf(Buffer.from('first'))), { size: 5 });
  t.same(ended, ['id']);
});

t.test('a cancel while a thread hashes lets go of the file, and so does a failed commit', async (t) => {
  const store = await openTestStore(t);
  const held = async (): Promise<number> => {
    const names = await readdir('/proc/self/fd');
    const files = await Promise.all(names.map((fd) => stat(`/proc/self/fd/${fd}`).catch(() => undefined)));
    return files.filter((of) => of?.isFile() && of.nlink === 0).length;
  };
  const before = await held();
  const writer = await store.blobs.createWriter({ algorithm: 'sha512' });
  const bytes = randomBytes(24 * MIB);
  await writer.append(Readable.from(inSteps(bytes)));
  await t.rejects(writer.commit(digestOf('sha512', Buffer.from('other'))), { code: 'digest-mismatch' });
  await writer.append(Readable.from(inSteps(bytes)));
  await writer.cancel();
  t.equal(await held(), before, 'its space is given back');
  t.same(await readdir(path.join(store.root, 'blobs/uploads')), []);
});

function* inSteps(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

t.test('a source that is faster than the disk waits for it', async (t) => {
  const { writer, fail } = await faulty(t);
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  fail('writev', async (handle, ...given) => {
    await gate;
    return (handle.writev as (...of: never[]) => Promise<unknown>).apply(handle, given);
  });
  let taken = 0;
  async function* fast(): AsyncGenerator<Buffer> {
    for (; taken < 32; taken += 1) yield Buffer.alloc(MIB / 2);
  }
  const appending = writer.append(fast());
  for (let turns = 0; turns < 50; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  t.ok(taken <= 4, `${taken} chunks of half a MiB were taken while nothing was written`);
  release();
  await appending;
  t.equal(writer.size, 16 * MIB);
});

t.test('an upload that is begun while the store closes is closed with it', async (t) => {
  const store = await openTestStore(t);
  const { blobs } = store;
  const begun = blobs.createWriter().then(
    (writer) => writer,
    () => undefined,
  );
  await store.reopen();
  const writer = await begun;
  if (writer) await t.rejects(append(writer, Buffer.from('x')), { code: 'closed' });
  const again = writer && (await store.blobs.resumeWriter(writer.id));
  t.equal(again?.size ?? 0, 0);
});
