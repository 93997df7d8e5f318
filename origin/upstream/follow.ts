/**
 * A blob on its way as the body of an answer. Its last bytes are held back until the digest is
 * right: nobody gets the whole of a wrong blob, and a client that asks for a part checks the whole.
 */
import type { ByteSource } from '#http';
import type { IncomingBlob } from './incoming.ts';

/** Used by one answer, which reads one part after another. */
export function followIncoming(blob: IncomingBlob): ByteSource {
  let failure: { readonly error: unknown } | undefined;
  let wake = (): void => undefined;
  blob.finished.catch((error: unknown) => {
    failure = { error };
    wake();
  });

  /** Resolves when the bytes before `end` are here; rejects as the fetch does. */
  async function arrival(end: number): Promise<void> {
    if (blob.available() >= end) return;
    const stop = blob.onGrowth(() => {
      if (blob.available() >= end) wake();
    });
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (failure || blob.available() >= end) resolve();
    });
    stop();
    if (failure) throw failure.error;
  }

  return {
    async read(position, into) {
      const end = position + into.length;
      if (end >= blob.size) await blob.finished;
      else await arrival(end);
      await blob.read(position, into);
    },
  };
}
