/** Answers that share what they read: the right bytes for each, read once, and no memory lost. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { LARGE_PART_BYTES, lendBuffer, takeBack } from '../../../src/http/part-buffers.ts';
import { type Part, type Parts, sharedParts } from '../../../src/http/shared-parts.ts';

const MIB = 1024 * 1024;
const blob = randomBytes(12 * MIB + 5000);

/** Fills what is asked for, after a turn of the loop, and counts. */
function countingSource() {
  const counts = { reads: 0, bytes: 0 };
  const read = async (position: number, into: Uint8Array): Promise<void> => {
    counts.reads += 1;
    counts.bytes += into.length;
    await new Promise(setImmediate);
    blob.copy(into, 0, position, position + into.length);
  };
  return { counts, read };
}

const holds = (part: Part, at: number): boolean =>
  blob.compare(part.bytes, 0, part.bytes.length, at, at + part.bytes.length) === 0;

/** How many large buffers can be had: fewer than at the start when some were lost. */
function largeBuffers(): number {
  const lent: Buffer[] = [];
  for (;;) {
    const buffer = lendBuffer(LARGE_PART_BYTES, true);
    lent.push(buffer);
    if (buffer.length < LARGE_PART_BYTES) break;
  }
  for (const buffer of lent) takeBack(buffer);
  return lent.length - 1;
}
const atFirst = largeBuffers();

async function sendAll(parts: Parts, from = 0): Promise<boolean> {
  let right = true;
  for (let at = from; at < blob.length; ) {
    const part = await parts.take(at, blob.length - at, true);
    right &&= holds(part, at);
    at += part.bytes.length;
    await new Promise(setImmediate);
    part.giveBack(true);
  }
  parts.close();
  return right;
}

t.test('eight answers that begin together cost one read, also when some begin elsewhere', async (t) => {
  const { counts, read } = countingSource();
  const answers = Array.from({ length: 8 }, () => sharedParts('a', read));
  const right = await Promise.all(answers.map((parts, at) => sendAll(parts, at < 6 ? 0 : at * 1000)));
  t.ok(right.every(Boolean));
  t.ok(counts.bytes < 1.2 * blob.length, `${counts.bytes} of ${blob.length} bytes were read`);
  t.equal(largeBuffers(), atFirst);
});

t.test('one alone reads for itself, and one that is far behind too', async (t) => {
  const alone = countingSource();
  t.ok(await sendAll(sharedParts('alone', alone.read)));
  t.equal(alone.counts.bytes, blob.length);
  const { counts, read } = countingSource();
  const [ahead, behind] = [sharedParts('b', read), sharedParts('b', read)];
  const first = await behind.take(0, blob.length, false);
  t.ok(await sendAll(ahead));
  const at = first.bytes.length;
  first.giveBack(true);
  t.ok(await sendAll(behind, at));
  t.ok(counts.bytes > blob.length + 3 * MIB, 'the window is all that is kept');
  t.equal(largeBuffers(), atFirst);
});

t.test('one that fails to read fails alone; a cut one leaves the others their bytes', async (t) => {
  const { read } = countingSource();
  const failing = sharedParts('c', async () => {
    await new Promise(setImmediate);
    throw new Error('closed');
  });
  const [good, cut] = [sharedParts('c', read), sharedParts('c', read)];
  const asked = [failing.take(0, blob.length, true), good.take(0, blob.length, true)] as const;
  await t.rejects(asked[0], { message: 'closed' });
  const part = await asked[1];
  t.ok(holds(part, 0));
  failing.close();
  const [mine, theirs] = await Promise.all([good.take(MIB, MIB, true), cut.take(MIB, MIB, true)]);
  t.equal(mine.bytes, theirs.bytes, 'the same memory');
  // The socket may still read it: it must not be lent for other bytes.
  theirs.giveBack(false);
  cut.close();
  mine.giveBack(true);
  part.giveBack(true);
  t.not(lendsTheMemoryOf(mine), true, 'it is left to the collector');
  t.ok(await sendAll(good, 2 * MIB));
  t.equal(largeBuffers(), atFirst);
});

function lendsTheMemoryOf(part: Part): boolean {
  const lent = Array.from({ length: 40 }, () => lendBuffer(LARGE_PART_BYTES, true));
  const found = lent.some((buffer) => buffer.buffer === part.bytes.buffer);
  for (const buffer of lent) takeBack(buffer);
  return found;
}

t.test('any order of taking, giving back, cutting and leaving: the right bytes, no room lost', async () => {
  const step = fc.record({
    who: fc.nat(5),
    what: fc.constantFrom('take', 'take', 'take', 'small', 'give', 'give', 'settle', 'cut', 'leave'),
  });
  const starts = fc.array(fc.nat(5 * MIB), { minLength: 6, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(starts, fc.array(step, { maxLength: 60 }), async (places, steps) => {
      const { read } = countingSource();
      const answers = places.map((at) => manyHanded(sharedParts('d', read), at));
      for (const { who, what } of steps) {
        const answer = answers[who];
        if (what === 'settle') await Promise.all(answers.map(({ settled }) => settled()));
        else if (what === 'take' || what === 'small') answer?.take(what === 'take');
        else if (what === 'give') answer?.give();
        else answer?.end(what === 'leave');
      }
      for (const answer of answers) answer.end(true);
      await Promise.all(answers.map(({ settled }) => settled()));
      return answers.every(({ isRight }) => isRight()) && largeBuffers() === atFirst;
    }),
    { numRuns: 60 },
  );
});

/** One answer: takes its parts in order, each when it has the one before, while others go on. */
function manyHanded(parts: Parts, from: number) {
  const held: { readonly part: Part; readonly at: number }[] = [];
  let at = from;
  let open = true;
  let right = true;
  let tail = Promise.resolve();
  const giveBack = (isFree: boolean): void => {
    const oldest = held.shift();
    if (!oldest) return;
    // It is the answer's until now, whatever others did.
    right &&= holds(oldest.part, oldest.at);
    oldest.part.giveBack(isFree);
  };
  return {
    take(large: boolean): void {
      tail = tail.then(async () => {
        if (!open || at >= blob.length) return;
        const part = await parts.take(at, blob.length - at, large);
        held.push({ part, at });
        at += part.bytes.length;
        if (!open) giveBack(true);
      });
    },
    give: () => giveBack(true),
    /** The connection is gone; `isFree`: nothing was on its way. */
    end(isFree: boolean): void {
      if (!open) return;
      open = false;
      while (held.length > 0) giveBack(isFree);
      // The loop that sends ends when its last take does.
      tail = tail.then(parts.close);
    },
    settled: () => tail,
    isRight: () => right,
  };
}
