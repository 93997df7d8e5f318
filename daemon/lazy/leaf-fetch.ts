/** Leaves from the origin: one ranged request for a run of them, each checked as soon as it is whole. */
import type { Digest } from '#oci';
import { isLeaf, type Leaves, leafSize } from '#torrent';
import type { OriginClient } from '../origin-client.ts';
import type { Ask } from '../origins.ts';
import type { Repository } from '../repository.ts';

const STRETCH_LEAVES = 8;

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
 * Gives each leaf to `onLeaf`, in order. `onBytes` is told of everything that came, right or wrong.
 * @throws WrongLeafError, RangeError when less came than was asked, OciError when no origin answered
 */
export async function fetchLeaves(options: {
  readonly origin: Pick<OriginClient, 'blobRange'>;
  readonly repository: Repository;
  readonly leaves: Leaves;
  readonly run: LeafRun;
  readonly onLeaf: (index: number, bytes: Buffer) => void;
  readonly onBytes: (bytes: number) => void;
  readonly ask: Ask;
}): Promise<void> {
  const { leaves, run } = options;
  const { digest, leafLength } = leaves;
  const start = run.first * leafLength;
  const end = run.last * leafLength + leafSize(leaves, run.last) - 1;
  const body = await options.origin.blobRange(options.repository, digest, { start, end }, options.ask);
  const stretch = stretches(leaves, run);
  let index = run.first;
  let leaf = stretch(index);
  let filled = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      options.onBytes(chunk.length);
      for (let taken = 0; taken < chunk.length; ) {
        if (index > run.last) throw new RangeError('the origin sent more than was asked');
        const length = chunk.copy(leaf, filled, taken);
        taken += length;
        filled += length;
        if (filled < leaf.length) continue;
        if (!isLeaf(leaves, index, leaf)) throw new WrongLeafError(digest, index);
        options.onLeaf(index, leaf);
        index += 1;
        filled = 0;
        if (index <= run.last) leaf = stretch(index);
      }
    }
    if (index <= run.last) throw new RangeError('the origin sent less than was asked');
  } finally {
    body.destroy();
  }
}

/** Memory for one leaf after another of a run: some share one allocation, since many small ones cost much. */
function stretches(leaves: Leaves, run: LeafRun): (index: number) => Buffer {
  let memory = Buffer.alloc(0);
  return (index) => {
    const length = leafSize(leaves, index);
    if (memory.length < length) {
      memory = Buffer.allocUnsafeSlow(Math.min(STRETCH_LEAVES, run.last - index + 1) * leaves.leafLength);
    }
    const leaf = memory.subarray(0, length);
    memory = memory.subarray(length);
    return leaf;
  };
}
