/**
 * The clients that read a running download: where each stands, which pieces it waits for, and what
 * the swarm should fetch first for them. A piece is given out once it is verified, the first one also
 * leaf by leaf as it comes; the last piece of the blob only once the whole blob is verified, so that nobody ever gets all of
 * a wrong blob.
 */
import { byUrgency, mergedWindow, type PieceRun, type ReadPosition } from './fallback-policy.ts';

/** Pieces ahead of a reader that are fetched before others. */
const WINDOW_PIECES = 12;

export interface Follower {
  /** Resolves when the first `bytes` of this piece (default: all) may be sent; rejects when the download fails. */
  wait(piece: number, bytes?: number): Promise<void>;
  /** A wait that is running rejects. */
  close(): void;
}

export interface Followers {
  add(piece: number): Follower;
  /** A piece was verified and stored. */
  arrived(piece: number): void;
  /** More of the first piece was verified, see `begun`. */
  grown(): void;
  /** The whole blob was verified. */
  complete(): void;
  fail(error: Error): void;
  /** First missing pieces that clients need, the most urgent first. */
  positions(): ReadPosition[];
  readonly size: number;
}

interface Reader {
  piece: number;
  /** How much of the piece is waited for. */
  bytes: number;
  waitingSince: number | undefined;
  settle: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
}

export function createFollowers(options: {
  readonly has: (piece: number) => boolean;
  readonly pieces: number;
  /** Verified bytes of the first piece while it still comes. */
  readonly begun?: () => number;
  /** Called when the window that should be fetched first has changed. */
  readonly onWindow: (window: PieceRun) => void;
  /** Called when the last reader has left. */
  readonly onEmpty: () => void;
}): Followers {
  const { has, pieces, begun = () => 0 } = options;
  const readers = new Set<Reader>();
  let outcome: 'running' | 'complete' | Error = 'running';
  let announced: PieceRun | undefined;

  const mayBeSent = (piece: number, bytes: number): boolean =>
    outcome === 'complete' || (piece < pieces - 1 && (has(piece) || (piece === 0 && bytes <= begun())));

  function updateWindow(): void {
    const window = mergedWindow(byUrgency(readers), { has, pieces, width: WINDOW_PIECES });
    if (!window || (window.first === announced?.first && window.last === announced.last)) return;
    announced = window;
    options.onWindow(window);
  }

  function release(reader: Reader): void {
    const { settle } = reader;
    reader.settle = undefined;
    reader.waitingSince = undefined;
    if (outcome instanceof Error) settle?.reject(outcome);
    else settle?.resolve();
  }

  return {
    add(piece) {
      const reader: Reader = { piece, bytes: 0, waitingSince: undefined, settle: undefined };
      readers.add(reader);
      if (outcome === 'running') updateWindow();
      return {
        async wait(wanted, bytes = Number.POSITIVE_INFINITY) {
          if (outcome instanceof Error) throw outcome;
          reader.piece = wanted;
          reader.bytes = bytes;
          if (mayBeSent(wanted, bytes)) return;
          reader.waitingSince = performance.now();
          updateWindow();
          await new Promise<void>((resolve, reject) => {
            reader.settle = { resolve, reject };
          });
        },
        close() {
          if (!readers.delete(reader)) return;
          reader.settle?.reject(new Error('the reader has left'));
          if (readers.size === 0) options.onEmpty();
        },
      };
    },
    arrived(piece) {
      for (const reader of readers) {
        if (reader.piece === piece && reader.settle && mayBeSent(piece, reader.bytes)) release(reader);
      }
      if (readers.size > 0 && announced && piece >= announced.first && piece <= announced.last)
        updateWindow();
    },
    grown() {
      for (const reader of readers) {
        if (reader.piece === 0 && reader.settle && mayBeSent(0, reader.bytes)) release(reader);
      }
    },
    complete() {
      outcome = 'complete';
      for (const reader of readers) release(reader);
    },
    fail(error) {
      outcome = error;
      for (const reader of readers) release(reader);
    },
    positions: () => byUrgency(readers),
    get size() {
      return readers.size;
    },
  };
}
