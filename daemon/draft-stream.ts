/**
 * A draft as the origin tells it over HTTP (see #torrent): read up to its header at once, and further
 * by whoever follows it. A silent stream ends by the client's stall deadline: an origin that still
 * works says so every few seconds.
 */
import type { HttpBody } from '#http';
import { createDraftParser, type DraftHeader } from '#torrent';

/** Why a stream ended: the blob is complete at the origin, or the origin gave up. */
export type DraftOutcome = 'complete' | { readonly failed: string };

export interface DraftStream {
  readonly header: DraftHeader;
  /**
   * Reads to the end. `onHashes` gets the hashes in order, from `header.from` on; valid during the call.
   * Rejects when the stream is cut, breaks its form, or is closed.
   */
  follow(onHashes: (hashes: Uint8Array) => void): Promise<DraftOutcome>;
  close(): void;
}

/** Resolves with the header. The body is destroyed when there is none. @throws MetainfoError */
export async function openDraftStream(body: HttpBody): Promise<DraftStream> {
  const chunks = body[Symbol.asyncIterator]();
  const early: Buffer[] = [];
  let header: DraftHeader | undefined;
  let outcome: DraftOutcome | undefined;
  let listener = (hashes: Uint8Array): void => void early.push(Buffer.from(hashes));
  const parser = createDraftParser({
    header: (read) => {
      header = read;
    },
    hashes: (hashes) => listener(hashes),
    end: () => {
      outcome = 'complete';
    },
    failed: (reason) => {
      outcome = { failed: reason };
    },
  });

  async function step(): Promise<void> {
    const { done, value } = await chunks.next();
    if (done) throw new Error('the draft was cut');
    parser.push(value);
  }
  async function readHeader(): Promise<DraftHeader> {
    while (header === undefined) await step();
    return header;
  }

  try {
    return {
      header: await readHeader(),
      async follow(onHashes) {
        try {
          for (const hashes of early.splice(0)) onHashes(hashes);
          listener = onHashes;
          while (outcome === undefined) await step();
          return outcome;
        } finally {
          body.destroy();
        }
      },
      close: () => void body.destroy(),
    };
  } catch (error) {
    body.destroy();
    throw error;
  }
}
