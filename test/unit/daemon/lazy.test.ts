/** Lazy reads without a network: read-ahead, the memory of leaves, and what is fetched for which reads. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { createLeaves, leafLengthFor, leafSize } from '#torrent';
import { createLazyBlob, type FetchRun } from '../../../daemon/lazy/lazy-blob.ts';
import type { LeafRun } from '../../../daemon/lazy/leaf-fetch.ts';
import { createLeafMemory } from '../../../daemon/lazy/leaf-memory.ts';
import { createReadAhead } from '../../../daemon/lazy/read-ahead.ts';
import { content } from '../../support/content.ts';

const LEAF = leafLengthFor(0);

t.test('random reads fetch nothing ahead, reads in a row more and more', async (t) => {
  const readAhead = createReadAhead(64);
  for (const first of [500, 10, 900, 300]) t.equal(readAhead.read(first, first + 4), first + 4);
  const ahead: number[] = [];
  for (let first = 1000; first < 1400; first += 4) ahead.push(readAhead.read(first, first + 3) - (first + 3));
  t.equal(ahead[0], 0, 'the first of a row');
  t.ok((ahead[1] ?? 0) > 0, 'the second');
  t.equal(Math.max(...ahead), 64, 'never more than the most');
  t.ok(ahead.filter((leaves) => leaves > 0).length < ahead.length / 4, 'not with every read');
});

t.test('two readers of one blob do not disturb each other', async (t) => {
  const readAhead = createReadAhead(64);
  let fetched = 0;
  for (let step = 0; step < 10; step += 1) {
    for (const base of [0, 5000]) {
      const last = base + step * 4 + 3;
      if (readAhead.read(last - 3, last) > last) fetched += 1;
    }
  }
  t.ok(fetched >= 4, `${fetched} times ahead`);
});

t.test('read-ahead is bounded, whatever is read', async () => {
  const reads = fc.array(fc.tuple(fc.nat(300), fc.nat(20)), { maxLength: 200 });
  fc.assert(
    fc.property(reads, (all) => {
      const readAhead = createReadAhead(32);
      return all.every(([first, more]) => {
        const until = readAhead.read(first, first + more);
        return until >= first + more && until <= first + more + 32;
      });
    }),
  );
});

t.test('the memory never holds more than it may, and the newest stays', async () => {
  const digest = sha256DigestOf(Buffer.from('x'));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(30), fc.boolean()), { maxLength: 200 }), (steps) => {
      const memory = createLeafMemory(10 * 100);
      return steps.every(([index, shared], step) => {
        const allocation = Buffer.allocUnsafeSlow(shared ? 200 : 100);
        memory.put(digest, index, allocation.subarray(0, 100));
        if (shared) memory.put(digest, index + 100, allocation.subarray(100));
        memory.get(digest, step % 30);
        return memory.bytes <= 1000 && memory.has(digest, shared ? index + 100 : index);
      });
    }),
  );
});

/** A blob that is read from `bytes`; `runs` tells what was fetched. `fetch` may fail or wait. */
function lazyBlob(
  size: number,
  memoryBytes: number,
  before: (run: LeafRun) => Promise<void> = async () => undefined,
) {
  const bytes = Buffer.concat([...content(7, size)]);
  const count = Math.ceil(size / LEAF);
  const hashes = Buffer.concat(
    Array.from({ length: count }, (_, index) =>
      createHash('sha256')
        .update(bytes.subarray(index * LEAF, (index + 1) * LEAF))
        .digest(),
    ),
  );
  const leaves = createLeaves({ digest: sha256DigestOf(bytes), length: size, hashes });
  const runs: LeafRun[] = [];
  const fetchRun: FetchRun = async (run, onLeaf) => {
    runs.push(run);
    await before(run);
    for (let index = run.first; index <= run.last; index += 1) {
      await Promise.resolve();
      onLeaf(index, bytes.subarray(index * LEAF, index * LEAF + leafSize(leaves, index)));
    }
  };
  const memory = createLeafMemory(memoryBytes);
  return { bytes, runs, blob: createLazyBlob({ leaves, memory, readAheadBytes: 16 * LEAF, fetchRun }) };
}

async function readRange(
  blob: ReturnType<typeof lazyBlob>['blob'],
  start: number,
  length: number,
): Promise<Buffer> {
  blob.begin({ start, end: start + length - 1 });
  await blob.ready({ start, end: start + length - 1 });
  const into = Buffer.alloc(length);
  await blob.read(start, into);
  return into;
}

t.test('any reads at the same time give the right bytes, and fetch no leaf twice at once', async () => {
  const size = 60 * LEAF + 77;
  const read = fc
    .nat(size - 1)
    .chain((start) =>
      fc.tuple(fc.constant(start), fc.integer({ min: 1, max: Math.min(5 * LEAF, size - start) })),
    );
  await fc.assert(
    fc.asyncProperty(fc.array(read, { minLength: 1, maxLength: 12 }), fc.boolean(), async (reads, roomy) => {
      // Without room a leaf may be gone before it is read; then it is fetched again.
      const { blob, bytes, runs } = lazyBlob(size, roomy ? size * 16 : 8 * LEAF);
      const answers = await Promise.all(reads.map(([start, length]) => readRange(blob, start, length)));
      for (const [index, [start, length]] of reads.entries()) {
        if (answers[index]?.equals(bytes.subarray(start, start + length)) !== true) return false;
      }
      const fetched = runs.flatMap(({ first, last }) =>
        Array.from({ length: last - first + 1 }, (_, at) => first + at),
      );
      return !roomy || new Set(fetched).size === fetched.length;
    }),
    { numRuns: 60 },
  );
});

t.test('overlapping reads share what is on its way', async (t) => {
  const gate = Promise.withResolvers<void>();
  const { blob, bytes, runs } = lazyBlob(20 * LEAF, 40 * LEAF, () => gate.promise);
  const reads = [readRange(blob, 0, 4 * LEAF), readRange(blob, 2 * LEAF, 4 * LEAF), readRange(blob, 10, 20)];
  gate.resolve();
  const [first, second, third] = await Promise.all(reads);
  t.ok(first?.equals(bytes.subarray(0, 4 * LEAF)));
  t.ok(second?.equals(bytes.subarray(2 * LEAF, 6 * LEAF)));
  t.ok(third?.equals(bytes.subarray(10, 30)));
  t.same(runs, [
    { first: 0, last: 3 },
    { first: 4, last: 5 },
  ]);
  t.equal(blob.begin({ start: 0, end: 6 * LEAF - 1 }), 'memory');
});

t.test('a failed fetch fails the reads that wait for it, and no later one', async (t) => {
  let fails = true;
  const { blob, bytes } = lazyBlob(20 * LEAF, 40 * LEAF, async () => {
    if (fails) throw new Error('no origin');
  });
  await t.rejects(readRange(blob, 0, LEAF), { message: 'no origin' });
  fails = false;
  t.ok((await readRange(blob, 0, LEAF)).equals(bytes.subarray(0, LEAF)));
});
