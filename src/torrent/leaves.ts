/**
 * The leaf hashes of one blob: SHA-256 of each 16 KiB leaf, the leaf layer of BEP 52. With them a reader of
 * small ranges can check 16 KiB without having the whole piece around it.
 *
 * Leaf length follows from the size alone, as piece length does: 16 KiB up to 2 GiB, then as many
 * doublings as keep the list at 4 MiB.
 */
import { hash } from 'node:crypto';
import { type Bencoded, BencodeError, decodeBencode, encodeBencode } from '#bencode';
import { type Digest, digestHex, digestOfHex } from '#oci';

/** What a list of leaf hashes is called on the wire. */
export const LEAVES_MEDIA_TYPE = 'application/vnd.shoal.leaves.v1';
/** More than any list: its hashes, and a few hundred bytes around them. Larger input is refused unread. */
export const MAX_LEAVES_BYTES = 4 * 1024 * 1024 + 1024;

const HASH_BYTES = 32;
const MIN_LEAF_LENGTH = 16 * 1024;
const MAX_LEAVES = (4 * 1024 * 1024) / HASH_BYTES;

export interface Leaves {
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly length: number;
  /** Bytes of each leaf but the last. */
  readonly leafLength: number;
  /** SHA-256 of each leaf, 32 bytes each, one after another. */
  readonly hashes: Uint8Array;
}

export class LeavesError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'LeavesError';
  }
}

/** Bytes of a leaf, by the blob's size alone. */
export function leafLengthFor(length: number): number {
  let leafLength = MIN_LEAF_LENGTH;
  while (length > leafLength * MAX_LEAVES) leafLength *= 2;
  return leafLength;
}

/** Bytes of leaf `index`: the last one may be short. */
export function leafSize(leaves: Pick<Leaves, 'length' | 'leafLength'>, index: number): number {
  return Math.min(leaves.leafLength, leaves.length - index * leaves.leafLength);
}

/** Whether `bytes` is leaf `index`. */
export function isLeaf(leaves: Leaves, index: number, bytes: Uint8Array): boolean {
  if (bytes.length !== leafSize(leaves, index)) return false;
  const expected = leaves.hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
  return hash('sha256', bytes, 'buffer').equals(expected);
}

/** @throws LeavesError when the number of hashes does not fit the length */
export function createLeaves(blob: Pick<Leaves, 'digest' | 'length' | 'hashes'>): Leaves {
  const { digest, length, hashes } = blob;
  if (!Number.isSafeInteger(length) || length < 0) throw new LeavesError('the length is not a size');
  const leafLength = leafLengthFor(length);
  if (hashes.length !== HASH_BYTES * Math.ceil(length / leafLength)) {
    throw new LeavesError('the number of hashes does not fit the length');
  }
  return { digest, length, leafLength, hashes };
}

/** A bencoded dictionary (BEP 3) of `hashes`, `leaf length`, `length` and `name`, the hex digest. */
export function encodeLeaves({ digest, length, leafLength, hashes }: Leaves): Buffer {
  return encodeBencode({ hashes, 'leaf length': leafLength, length, name: digestHex(digest) });
}

/**
 * Reads what `encodeLeaves` wrote and refuses everything else.
 * @throws LeavesError with the reason
 */
export function parseLeaves(bytes: Uint8Array): Leaves {
  if (bytes.length > MAX_LEAVES_BYTES) throw new LeavesError(`larger than ${MAX_LEAVES_BYTES} bytes`);
  const outer = decode(bytes);
  if (!(outer instanceof Map)) throw new LeavesError('not a dictionary');
  const keys = [...outer.keys()].join();
  if (keys !== 'hashes,leaf length,length,name')
    throw new LeavesError(`unexpected keys: ${keys.slice(0, 200)}`);
  const [hashes, leafLength, length, name] = [...outer.values()];
  if (!(hashes instanceof Uint8Array) || !(name instanceof Uint8Array))
    throw new LeavesError('hashes or name is not a string');
  if (typeof length !== 'number' || length < 0) throw new LeavesError('length is not a size');
  if (leafLength !== leafLengthFor(length))
    throw new LeavesError('leaf length does not follow from the length');
  const hex = Buffer.from(name).toString('latin1');
  if (!/^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(hex))
    throw new LeavesError('name is not a hex sha256 or sha512');
  return createLeaves({ digest: digestOfHex(hex), length, hashes });
}

function decode(bytes: Uint8Array): Bencoded {
  try {
    return decodeBencode(bytes, 2);
  } catch (error) {
    if (error instanceof BencodeError) throw new LeavesError(error.message);
    throw error;
  }
}
