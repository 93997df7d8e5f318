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

t.test(
  'the memory never holds more than it may, the newest stays, and each leaf keeps its bytes',
  async () => {
    const most = 10 * LEAF;
    const steps = fc.array(fc.tuple(fc.nat(1), fc.nat(30), fc.integer({ min: 1, max: 3 * LEAF })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(steps, (all) => {
        const memory = createLeafMemory(most);
        const shelves = [memory.shelf(), memory.shelf()];
        const put = new Map<string, Buffer>();
        return all.every(([which, index, size], step) => {
          const leaf = Buffer.alloc(size, step + 1);
          leaf.writeUInt8(which, size - 1);
          shelves[which]?.put(index, leaf);
          put.set(`${which} ${index}`, leaf);
          if (shelves[which]?.has(index) !== true || memory.bytes > most) return false;
          for (const [name, wanted] of put) {
            const [shelf, at] = name.split(' ').map(Number);
            const from = Math.floor(wanted.length / 3);
            const into = Buffer.alloc(wanted.length - from);
            const isHere = shelves[shelf ?? 0]?.read(at ?? 0, from, into);
            if (isHere === true && !into.equals(wanted.subarray(from))) return false;
          }
          return true;
        });
      }),
    );
  },
);

t.test('a memory without room keeps nothing', async (t) => {
  const shelf = createLeafMemory(LEAF - 1).shelf();
  shelf.put(0, Buffer.alloc(LEAF));
  t.notOk(shelf.has(0));
  t.notOk(shelf.read(0, 0, Buffer.alloc(1)));
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
