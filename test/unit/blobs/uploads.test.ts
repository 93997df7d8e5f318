/** Pushes: written in steps, hashed behind the writer, synced on the way. */
import { createHash } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import type { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { type Digest, sha256DigestOf } from '#oci';
import { createBackgroundSync, createWriteBehind, writeAll } from '../../../src/blobs/write-behind.ts';
import { openTestStore, type TestStore } from '../../support/store.ts';

const MIB = 1024 * 1024;

function pattern(bytes: number, seed: number): Buffer {
  return Buffer.concat(
    Array.from({ length: Math.ceil(bytes / 32) }, (_, at) =>
      createHash('sha256').update(`${seed} ${at}`).digest(),
    ),
  ).subarray(0, bytes);
}

function* inChunks(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    // A copy, as from a socket.
    yield Buffer.from(bytes.subarray(at, at + size));
    at += size;
  }
}

async function stored(store: TestStore, digest: Digest, bytes: Buffer): Promise<boolean> {
  const reader = await store.blobs.open(digest);
  if (!reader) return false;
  const got = Buffer.alloc(reader.size);
  await reader.read(0, got);
  await reader.close();
  return got.equals(bytes);
}

t.test('any sizes of chunks, and of requests, make the same blob', async (t) => {
  const store = await openTestStore(t);
  const sizes = fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 5 });
  let seed = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 3 * MIB }), sizes, fc.nat(), async (length, chunks, cut) => {
      const bytes = pattern(length, seed++);
      const at = cut % (length + 1);
      const writer = await store.blobs.createWriter();
      // A few tiny sizes alone would make a million chunks.
      const usual = [...chunks, 65_536];
      await writer.append(Readable.from(inChunks(bytes.subarray(0, at), usual)));
      await writer.append(Readable.from(inChunks(bytes.subarray(at), usual)));
      const digest = sha256DigestOf(bytes);
      await writer.commit(digest);
      return stored(store, digest, bytes);
    }),
    { numRuns: 25 },
  );
});

t.test('a client may send a byte at a time', async (t) => {
  const store = await openTestStore(t);
  const bytes = pattern(5_000, 1);
  const writer = await store.blobs.createWriter();
  await writer.append(Readable.from(inChunks(bytes, [1])));
  await writer.commit(sha256DigestOf(bytes));
  t.ok(await stored(store, sha256DigestOf(bytes), bytes));
});

t.test('a large upload with the wrong digest stays usable', async (t) => {
  const store = await openTestStore(t);
  const bytes = pattern(3 * MIB, 2);
  const writer = await store.blobs.createWriter();
  await writer.append(Readable.from(inChunks(bytes.subarray(0, 2 * MIB), [100_000])));
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await t.rejects(writer.commit(sha256DigestOf(bytes)), { code: 'digest-mismatch' });
  }
  await writer.append(Readable.from(inChunks(bytes.subarray(2 * MIB), [100_000])));
  await writer.commit(sha256DigestOf(bytes));
  t.ok(await stored(store, sha256DigestOf(bytes), bytes));
});

t.test('a large upload goes on after a broken request and after a restart', async (t) => {
  const store = await openTestStore(t);
  const bytes = pattern(4 * MIB, 3);
  async function* broken(): AsyncGenerator<Buffer> {
    yield* inChunks(bytes.subarray(0, 2_500_000), [65_536]);
    throw new Error('the client is gone');
  }
  const writer = await store.blobs.createWriter();
  await t.rejects(writer.append(broken()), { message: 'the client is gone' });
  t.equal(writer.size, 2_500_000, 'all that came is kept');
  await store.reopen();
  const again = await store.blobs.resumeWriter(writer.id);
  t.equal(again?.size, 2_500_000);
  await again?.append(Readable.from(inChunks(bytes.subarray(2_500_000), [65_536])));
  await again?.commit(sha256DigestOf(bytes));
  t.ok(await stored(store, sha256DigestOf(bytes), bytes));
});

t.test('a push is committed although the thread that hashed it died', async (t) => {
  const workers: Worker[] = [];
  const remember = (worker: Worker): void => void workers.push(worker);
  process.on('worker', remember);
  t.teardown(() => process.off('worker', remember));
  const store = await openTestStore(t);
  const bytes = pattern(3 * MIB, 4);
  const writer = await store.blobs.createWriter();
  await writer.append(Readable.from(inChunks(bytes.subarray(0, 2 * MIB), [65_536])));
  t.equal(workers.length, 1, 'a thread hashes it');
  // From outside, unlike by close(), a thread's end does not keep the test's process alive.
  const alive = setInterval(() => undefined, 1000);
  t.teardown(() => clearInterval(alive));
  await Promise.all(workers.map((worker) => worker.terminate()));
  await writer.append(Readable.from(inChunks(bytes.subarray(2 * MIB), [65_536])));
  await writer.commit(sha256DigestOf(bytes));
  t.ok(await stored(store, sha256DigestOf(bytes), bytes));
});

t.test('two steps are in memory at most', async (t) => {
  let release = (): void => undefined;
  const steps: number[] = [];
  const behind = createWriteBehind((_chunks, bytes) => {
    steps.push(bytes);
    return new Promise((resolve) => {
      release = resolve;
    });
  });
  const chunk = Buffer.alloc(MIB);
  await behind.add(chunk);
  let taken = false;
  const second = behind.add(chunk).then(() => {
    taken = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(taken, false, 'the caller waits while a step is written and the next is full');
  t.same(steps, [MIB]);
  release();
  await second;
  const flushed = behind.flush();
  release();
  await flushed;
  t.same(steps, [MIB, MIB]);
});

t.test('what came is written though nothing follows it: others read behind the writer', async (t) => {
  const steps: number[] = [];
  let told = (): void => undefined;
  const all = new Promise<void>((resolve) => {
    told = resolve;
  });
  const behind = createWriteBehind(async (_chunks, bytes) => {
    steps.push(bytes);
    if (steps.length === 2) told();
  });
  await behind.add(Buffer.alloc(3));
  await behind.add(Buffer.alloc(5));
  await all;
  t.same(steps, [3, 5]);
  await behind.flush();
  t.same(steps, [3, 5]);
});

t.test('a failed write is told to whoever comes next, and nothing is written after it', async (t) => {
  let calls = 0;
  const behind = createWriteBehind(async () => {
    calls += 1;
    throw new Error('EIO');
  });
  const chunk = Buffer.alloc(MIB);
  await behind.add(chunk);
  await t.rejects(behind.add(chunk), { message: 'EIO' });
  await t.rejects(behind.flush(), { message: 'EIO' });
  t.equal(calls, 1);
});

t.test('a failed background sync is remembered', async (t) => {
  const handle = await open(path.join(t.testdir(), 'file'), 'w+');
  const sync = createBackgroundSync(handle);
  sync.written(MIB);
  await sync.settled();
  await handle.close();
  sync.written(64 * MIB);
  await t.rejects(sync.settled());
  await t.rejects(sync.settled(), 'also when it is asked again');
  t.throws(() => sync.written(1));
});

t.test('chunks are written whole, one behind the other', async (t) => {
  const file = path.join(t.testdir(), 'file');
  const handle = await open(file, 'w+');
  t.teardown(() => handle.close());
  await writeAll(handle, 0, []);
  await writeAll(handle, 2, [Buffer.from('ab'), Buffer.alloc(0), Buffer.from('c')]);
  t.equal(String(await readFile(file)), '\0\0abc');
});
