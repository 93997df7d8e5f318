/** Leaves from the origin: one ranged request for a run of them, each checked as soon as it is whole. */
import type { Digest } from '#oci';
import { isLeaf, type Leaves, leafSize } from '#torrent';
import type { OriginClient } from '../origin-client.ts';
import type { Ask } from '../origins.ts';
import type { Repository } from '../repository.ts';

/** Leaves `first` to `last`. */
export interface LeafRun {
  readonly first: number;
  readonly last: number;
}

/** What the origin sent is not what its leaf hashes say. */
export class WrongLeafError extends Error {
  constructor(digest: Digest, index: number) {
    super(`the origin sent a wrong leaf ${index} of ${digest}`);
    this.name = 'WrongLeafError';
  }
}

/**
 * Gives each leaf to `onLeaf`, in order; its bytes are good for that call. `onBytes` is told of everything that came, right or wrong.
 * @throws WrongLeafError, RangeError when less came than was asked, OciError when no origin answered
 */
export async function fetchLeaves(options: {
  readonly origin: Pick<OriginClient, 'blobRange'>;
  readonly repository: Repository;
  readonly leaves: Leaves;
  readonly run: LeafRun;
  readonly onLeaf: (index: number, bytes: Uint8Array) => void;
  readonly onBytes: (bytes: number) => void;
  readonly ask: Ask;
}): Promise<void> {
  const { leaves, run } = options;
  const { digest, leafLength } = leaves;
  const start = run.first * leafLength;
  const end = run.last * leafLength + leafSize(leaves, run.last) - 1;
  const body = await options.origin.blobRange(options.repository, digest, { start, end }, options.ask);
  let index = run.first;
  /** A leaf of which a part came in an earlier chunk. */
  let begun: Buffer | undefined;
  let filled = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      options.onBytes(chunk.length);
      for (let taken = 0; taken < chunk.length; ) {
        if (index > run.last) throw new RangeError('the origin sent more than was asked');
        const size = leafSize(leaves, index);
        const missing = size - filled;
        const part = chunk.subarray(taken, taken + missing);
        taken += part.length;
        if (part.length < size) {
          begun ??= Buffer.allocUnsafe(leafLength);
          begun.set(part, filled);
          filled += part.length;
          if (part.length < missing) break;
        }
        const leaf = part.length === size || begun === undefined ? part : begun.subarray(0, size);
        if (!isLeaf(leaves, index, leaf)) throw new WrongLeafError(digest, index);
        options.onLeaf(index, leaf);
        index += 1;
        filled = 0;
      }
    }
    if (index <= run.last) throw new RangeError('the origin sent less than was asked');
  } finally {
    body.destroy();
  }
}
