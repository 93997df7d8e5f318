/** How many blobs a store has, and their bytes: counted from the index in the background, then kept up to date. */
import type { Logger } from '#telemetry';

export interface Totals {
  added(bytes: number): void;
  removed(bytes: number): void;
  now(): { readonly blobs: number; readonly bytes: number };
  /** Resolves when the blobs of earlier runs are in, or the store is closed. Never rejects. */
  readonly counted: Promise<void>;
}

/** `sizes` is of what the index holds now: what changes from here on is not in it, and is told by itself. */
export function createTotals(
  sizes: AsyncIterable<readonly number[]>,
  { isClosed, log }: { readonly isClosed: () => boolean; readonly log: Logger },
): Totals {
  let blobs = 0;
  let total = 0;
  const added = (bytes: number): void => {
    blobs += 1;
    total += bytes;
  };
  const count = async (): Promise<void> => {
    for await (const batch of sizes) {
      for (const size of batch) added(size);
      if (isClosed()) return;
    }
  };
  return {
    added,
    removed(bytes) {
      blobs -= 1;
      total -= bytes;
    },
    now: () => ({ blobs, bytes: total }),
    counted: count().catch((error: unknown) =>
      log.error({ err: error }, 'the stored blobs could not be counted'),
    ),
  };
}
