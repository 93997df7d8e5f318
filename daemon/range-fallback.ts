/**
 * Pieces from the origin over HTTP: one request for a run of adjacent pieces, each offered to the
 * download as soon as it is whole. The download verifies, stores and announces it.
 */
import { pieceSize, type Torrent } from '#torrent';
import type { PieceRun } from './fallback-policy.ts';
import type { Ask, OriginClient } from './origin-client.ts';
import type { Repository } from './repository.ts';

/** One request takes at most this much, so that the choice of what is urgent is made anew often. */
export const MAX_RUN_BYTES = 8 * 1024 * 1024;

/**
 * Resolves when the run is done, or when the rest of it came from elsewhere meanwhile.
 * Rejects when the origin cannot be read, sends less than was asked, or sends a wrong piece.
 */
export async function fetchRun(options: {
  readonly origin: OriginClient;
  readonly repository: Repository;
  readonly metainfo: Torrent;
  readonly run: PieceRun;
  readonly has: (piece: number) => boolean;
  /** False when the piece's hash is wrong. */
  readonly offer: (piece: number, bytes: Uint8Array) => Promise<boolean>;
  readonly onBytes: (bytes: number) => void;
  readonly ask: Ask;
}): Promise<void> {
  const { metainfo, run, has } = options;
  const start = run.first * metainfo.pieceLength;
  const end = run.last * metainfo.pieceLength + pieceSize(metainfo, run.last) - 1;
  const body = await options.origin.blobRange(
    options.repository,
    metainfo.digest,
    { start, end },
    options.ask,
  );
  let piece = run.first;
  let bytes = Buffer.allocUnsafe(pieceSize(metainfo, piece));
  let filled = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      options.onBytes(chunk.length);
      let taken = 0;
      while (taken < chunk.length) {
        if (piece > run.last) throw new RangeError('the origin sent more than was asked');
        const length = chunk.copy(bytes, filled, taken);
        taken += length;
        filled += length;
        if (filled < bytes.length) continue;
        if (!(await options.offer(piece, bytes)))
          throw new RangeError(`the origin sent a wrong piece ${piece}`);
        piece += 1;
        if (restIsHeld(piece, run.last, has)) return;
        bytes = Buffer.allocUnsafe(pieceSize(metainfo, piece));
        filled = 0;
      }
    }
    if (piece <= run.last) throw new RangeError('the origin sent less than was asked');
  } finally {
    body.destroy();
  }
}

function restIsHeld(from: number, last: number, has: (piece: number) => boolean): boolean {
  for (let piece = from; piece <= last; piece += 1) if (!has(piece)) return false;
  return true;
}
