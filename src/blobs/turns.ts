import type { Digest } from '#oci';
import { BlobStoreError } from './errors.ts';

/** For one digest at a time only one piece of work runs, so that index and bytes agree. */
export interface Turns {
  /** Runs `work` when earlier work on the same digest is done. @throws BlobStoreError 'closed' after `close` */
  run<T>(digest: Digest, work: () => Promise<T>): Promise<T>;
  /** Refuses new work and waits for what runs. */
  close(): Promise<void>;
}

export function createTurns(): Turns {
  const turns = new Map<Digest, Promise<unknown>>();
  let closed = false;
  return {
    async run(digest, work) {
      if (closed) throw new BlobStoreError('closed');
      const before = turns.get(digest) ?? Promise.resolve();
      const turn = before.then(work, work);
      turns.set(digest, turn);
      try {
        return await turn;
      } finally {
        if (turns.get(digest) === turn) turns.delete(digest);
      }
    },
    async close() {
      closed = true;
      await Promise.allSettled(turns.values());
    },
  };
}
