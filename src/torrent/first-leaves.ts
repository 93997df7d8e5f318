/**
 * SHA-256 of each 16 KiB of a blob's first piece. Whoever gets that piece from its start can give out what has come,
 * checked, before all of it is here. The origin tells them beside the metainfo, in a key of its own that other
 * clients pass over; they are no part of the info dictionary, so the infohash does not know of them.
 */
import { createHash } from 'node:crypto';
import type { Torrent } from './metainfo.ts';

export const FIRST_LEAF_BYTES = 16 * 1024;
const HASH_BYTES = 32;

/** Bytes of the list for a blob of `length` in pieces of `pieceLength`: 8 KiB at most. */
export function firstLeavesBytes({ length, pieceLength }: Pick<Torrent, 'length' | 'pieceLength'>): number {
  return HASH_BYTES * Math.ceil(Math.min(length, pieceLength) / FIRST_LEAF_BYTES);
}

/** Whether `bytes` is leaf `index` of the list. */
export function isFirstLeaf(hashes: Uint8Array, index: number, bytes: Uint8Array): boolean {
  const expected = hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
  return createHash('sha256').update(bytes).digest().equals(expected);
}
