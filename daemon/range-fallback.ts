/**
 * Pieces from the origin over HTTP: one request for a run of adjacent pieces, each offered to the
 * download as soon as it is whole. The download verifies, stores and announces it.
 */
import type { HttpBody } from '#http';
import type { SwarmDownload } from '#swarm';
import { pieceSize, type Torrent } from '#torrent';
import type { PieceRun } from './fallback-policy.ts';
import type { OriginClient } from './origin-client.ts';
import type { Ask } from './origins.ts';
import type { Repository } from './repository.ts';

/** One request takes at most this much, so that the choice of what is urgent is made anew often. */
export const MAX_RUN_BYTES = 8 * 1024 * 1024;

/** Pieces that are hashed and stored while the next is received. */
const PIECES_BEHIND = 3;

/** Asks for the bytes of a run. Rejects when the origin cannot be asked. */
export function requestRun(options: {
  readonly origin: OriginClient;
  readonly repository: Repository;
  readonly metainfo: Torrent;
  readonly run: PieceRun;
  readonly ask: Ask;
}): Promise<HttpBody> {
  const { metainfo, run } = options;
  const start = run.first * metainfo.pieceLength;
  const end = run.last * metainfo.pieceLength + pieceSize(metainfo, run.last) - 1;
  return options.origin.blobRange(options.repository, metainfo.digest, { start, end }, options.ask);
}

/**
 * Reads what was asked for. Resolves when the run is done, when the rest of it came from elsewhere
 * meanwhile or is not wanted. The origin is then asked to end, and what is on its way is still counted, and used where the
 * piece is missing. Rejects when the origin sends less or more than was asked, or a wrong piece.
 */
export async function readRun(options: {
  readonly body: HttpBody;
  readonly run: PieceRun;
  readonly has: (piece: number) => boolean;
  readonly download: Pick<SwarmDownload, 'lend' | 'giveBack' | 'pace'>;
  /** False when the piece's hash is wrong. */
  readonly offer: (piece: number, bytes: Uint8Array) => Promise<boolean>;
  readonly onBytes: (bytes: number) => void;
  /** So many bytes of a piece have come, in order; `whole` is overwritten once the piece was offered. */
  readonly onFilled?: (piece: number, whole: Uint8Array, filled: number) => void;
  /** Asked after each piece, told the first that is not stored yet; false: the rest is not wanted any more. */
  readonly goesOn?: (from: number) => boolean;
  /** The download is over: what still comes is counted and nothing else. */
  readonly over: AbortSignal;
}): Promise<void> {
  const { body, run, has, download, offer } = options;
  const behind: Promise<void>[] = [];
  let piece = run.first;
  let bytes: Uint8Array | undefined;
  let filled = 0;
  let enough = false;

  /** Memory for the next piece. While there is none, pieces that came before are still being stored. */
  async function room(): Promise<Uint8Array> {
    for (;;) {
      const lent = download.lend(piece);
      if (lent) return lent;
      const oldest = behind.shift();
      if (oldest === undefined) throw new Error('there is no memory for a piece');
      await oldest;
    }
  }

  async function pass(index: number, whole: Uint8Array): Promise<void> {
    if (!(await offer(index, whole))) throw new RangeError(`the origin sent a wrong piece ${index}`);
  }

  async function take(whole: Uint8Array): Promise<void> {
    const passed = pass(piece, whole);
    // Whoever waits for it is told.
    passed.catch(() => undefined);
    behind.push(passed);
    if (behind.length > PIECES_BEHIND) await behind.shift();
  }

  function finish(): void {
    enough = true;
    if (body.finish) body.finish();
    else body.destroy();
  }

  options.over.addEventListener('abort', finish, { once: true });
  if (options.over.aborted) finish();
  try {
    for await (const chunk of body) {
      options.onBytes(chunk.length);
      if (options.over.aborted) continue;
      await download.pace(chunk.length);
      for (let taken = 0; taken < chunk.length; ) {
        if (piece > run.last) throw new RangeError('the origin sent more than was asked');
        bytes ??= await room();
        const length = chunk.copy(bytes, filled, taken);
        taken += length;
        filled += length;
        options.onFilled?.(piece, bytes, filled);
        if (filled < bytes.length) continue;
        const whole = bytes;
        bytes = undefined;
        filled = 0;
        await take(whole);
        piece += 1;
        if (enough || piece > run.last) continue;
        // A body that is read to its end leaves a connection for the next request.
        if (restIsHeld(piece, run.last, has) || options.goesOn?.(piece - behind.length) === false) finish();
      }
      if (enough && !body.finish) break;
    }
    await Promise.all(behind);
    if (!enough && piece <= run.last) throw new RangeError('the origin sent less than was asked');
  } finally {
    options.over.removeEventListener('abort', finish);
    if (bytes !== undefined) download.giveBack(bytes);
    body.destroy();
  }
}

function restIsHeld(from: number, last: number, has: (piece: number) => boolean): boolean {
  for (let piece = from; piece <= last; piece += 1) if (!has(piece)) return false;
  return true;
}
