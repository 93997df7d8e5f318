import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { encodeBencode } from '#bencode';
import { sha256DigestOf } from '#oci';
import {
  createLeaves,
  encodeLeaves,
  isLeaf,
  type Leaves,
  LeavesError,
  leafLengthFor,
  leafSize,
  MAX_LEAVES_BYTES,
  parseLeaves,
  pieceLengthFor,
} from '#torrent';

const KIB = 1024;
const GIB = 1024 ** 3;

function sample(length: number): Leaves {
  const hashes = randomBytes(32 * Math.ceil(length / leafLengthFor(length)));
  return createLeaves({ digest: sha256DigestOf(Buffer.from(String(length))), length, hashes });
}

t.test('the leaf length follows from the size, and its list is bounded', async (t) => {
  const table: [number, number][] = [
    [0, 16 * KIB],
    [2 * GIB, 16 * KIB],
    [2 * GIB + 1, 32 * KIB],
    [4 * GIB + 1, 64 * KIB],
  ];
  for (const [length, expected] of table) t.equal(leafLengthFor(length), expected, `${length} bytes`);
  fc.assert(
    fc.property(fc.maxSafeNat(), (length) => {
      const leafLength = leafLengthFor(length);
      return (
        Math.ceil(length / leafLength) * 32 + 500 < MAX_LEAVES_BYTES &&
        Number.isInteger(Math.log2(leafLength))
      );
    }),
  );
  fc.assert(fc.property(fc.nat(512), (gib) => leafLengthFor(gib * GIB) <= pieceLengthFor(gib * GIB)));
});

t.test('leaf hashes come back as they were written', async (t) => {
  for (const length of [0, 1, 16 * KIB, 16 * KIB + 1, 1_000_003]) {
    const leaves = sample(length);
    const back = parseLeaves(encodeLeaves(leaves));
    t.same({ ...back, hashes: Buffer.from(back.hashes) }, { ...leaves, hashes: Buffer.from(leaves.hashes) });
  }
});

t.test('a leaf is its bytes and no others', async (t) => {
  const bytes = randomBytes(16 * KIB + 100);
  const parts = [bytes.subarray(0, 16 * KIB), bytes.subarray(16 * KIB)];
  const hashes = Buffer.concat(parts.map((part) => createHash('sha256').update(part).digest()));
  const leaves = createLeaves({ digest: sha256DigestOf(bytes), length: bytes.length, hashes });
  t.same([leafSize(leaves, 0), leafSize(leaves, 1)], [16 * KIB, 100]);
  for (const [index, part] of parts.entries()) {
    t.ok(isLeaf(leaves, index, part));
    t.notOk(isLeaf(leaves, 1 - index, part), 'at another place');
    t.notOk(isLeaf(leaves, index, part.subarray(1)), 'cut');
    fc.assert(
      fc.property(fc.nat(part.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = Buffer.from(part);
        damaged[at] = (damaged[at] ?? 0) ^ change;
        return !isLeaf(leaves, index, damaged);
      }),
    );
  }
});

t.test('what is not a list of leaf hashes is refused with the reason', async (t) => {
  const { hashes, leafLength, length, digest } = sample(100_000);
  const name = digest.slice(7);
  const good = { hashes, 'leaf length': leafLength, length, name };
  const bad: [unknown, RegExp][] = [
    [[], /dictionary/],
    [{ ...good, extra: 1 }, /keys/],
    [{ ...good, 'leaf length': 2 * leafLength }, /leaf length/],
    [{ ...good, length: length + leafLength }, /does not fit/],
    [{ ...good, length: -1 }, /size/],
    [{ ...good, hashes: hashes.subarray(1) }, /does not fit/],
    [{ ...good, hashes: 5 }, /not a string/],
    [{ ...good, name: 'zz' }, /hex/],
  ];
  for (const [value, reason] of bad) {
    const message = (): unknown => parseLeaves(encodeBencode(value as Parameters<typeof encodeBencode>[0]));
    t.throws(message, { name: 'LeavesError', message: reason });
  }
  t.throws(() => parseLeaves(Buffer.alloc(MAX_LEAVES_BYTES + 1)), { message: /larger/ });
});

t.test('mutated lists are refused or say what they say', async () => {
  const file = encodeLeaves(sample(200_000));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      (changes) => {
        const mutated = Buffer.from(file);
        for (const [at, value] of changes) mutated[at] = value;
        try {
          return encodeLeaves(parseLeaves(mutated)).equals(mutated);
        } catch (error) {
          return error instanceof LeavesError;
        }
      },
    ),
  );
});
