/** What may be read of a first piece that still arrives. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { leafHasher } from '#hashing';
import { sha256DigestOf } from '#oci';
import { createMetainfo, FIRST_LEAF_BYTES, type Metainfo, pieceLengthFor } from '#torrent';
import { createBeginning } from '../../../daemon/beginning.ts';

const PIECE = pieceLengthFor(0);
const bytes = randomBytes(PIECE + 5_000);

function torrentOf(firstLeaves: Uint8Array | undefined): Metainfo {
  const digest = sha256DigestOf(bytes);
  return createMetainfo({ digest, length: bytes.length, pieces: Buffer.alloc(40), firstLeaves });
}

const leaves = leafHasher(PIECE, FIRST_LEAF_BYTES, 'sha256');
leaves.update(bytes.subarray(0, PIECE));
const torrent = torrentOf(leaves.finish().hashes);

t.test('whole leaves that came in order may be read, and nothing else', async (t) => {
  const steps = fc.array(fc.integer({ min: 1, max: 50_000 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(steps, fc.nat(PIECE), fc.integer({ min: 1, max: 40_000 }), (sizes, position, length) => {
      const beginning = createBeginning(torrent);
      const buffer = Buffer.alloc(PIECE);
      let filled = 0;
      for (const size of sizes) {
        const end = Math.min(PIECE, filled + size);
        bytes.copy(buffer, filled, filled, end);
        filled = end;
        const before = beginning.verified;
        const more = beginning.grown(buffer, filled);
        if (more !== beginning.verified > before) return false;
      }
      if (beginning.verified !== Math.floor(filled / FIRST_LEAF_BYTES) * FIRST_LEAF_BYTES) return false;
      // The piece's memory goes to others afterwards.
      buffer.fill(0);
      const into = Buffer.alloc(length);
      const here = beginning.read(position, into);
      if (here !== position + length <= beginning.verified) return false;
      return !here || into.equals(bytes.subarray(position, position + length));
    }),
  );
  t.pass();
});

t.test('behind a wrong leaf nothing is given out, whatever comes', async (t) => {
  const beginning = createBeginning(torrent);
  const wrong = Buffer.from(bytes.subarray(0, PIECE));
  wrong[2 * FIRST_LEAF_BYTES + 7] = (wrong[2 * FIRST_LEAF_BYTES + 7] ?? 0) ^ 1;
  t.equal(beginning.grown(wrong, PIECE), true);
  t.equal(beginning.verified, 2 * FIRST_LEAF_BYTES);
  t.equal(beginning.grown(bytes.subarray(0, PIECE), PIECE), false);
  t.equal(beginning.verified, 2 * FIRST_LEAF_BYTES);
  t.equal(beginning.read(FIRST_LEAF_BYTES, Buffer.alloc(FIRST_LEAF_BYTES + 1)), false);
});

t.test('an attempt that starts again takes nothing back', async (t) => {
  const beginning = createBeginning(torrent);
  beginning.grown(bytes.subarray(0, PIECE), 3 * FIRST_LEAF_BYTES);
  t.equal(beginning.grown(bytes.subarray(0, PIECE), 10), false);
  t.equal(beginning.verified, 3 * FIRST_LEAF_BYTES);
  beginning.end();
  t.equal(beginning.read(0, Buffer.alloc(1)), false, 'the piece is in the blob by now');
});

t.test('without leaf hashes there is no beginning', async (t) => {
  const beginning = createBeginning(torrentOf(undefined));
  t.equal(beginning.grown(bytes.subarray(0, PIECE), PIECE), false);
  t.equal(beginning.read(0, Buffer.alloc(1)), false);
});
