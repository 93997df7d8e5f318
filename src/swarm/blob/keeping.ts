/**
 * What becomes of bytes that make a whole piece, whoever brought them: hashed off the event loop, written once and
 * reported, or refused and blamed on who sent them. One write at a time.
 */
import type { Logger } from '#telemetry';
import { pieceHash, type Torrent } from '#torrent';
import type { Peer } from '../peer/index.ts';
import type { Picker } from '../picker/index.ts';
import type { PieceSource, PieceStore } from '../port.ts';
import type { OpenPiece, Pieces, Sender } from './pieces.ts';
import { createSuspects } from './suspects.ts';
import type { Verifier } from './verifier.ts';

export interface Keeping {
  /** Every block of the piece is here: hashes it, and keeps it or blames its senders. */
  verify(open: OpenPiece): Promise<void>;
  /** Whether these bytes, which the caller brought, are this piece. */
  isPiece(piece: number, bytes: Uint8Array): Promise<boolean>;
  /** Stores a verified piece once, whoever brings it first; a failure of the store ends the download. */
  keep(piece: number, bytes: Uint8Array, source: PieceSource): Promise<void>;
}

export interface KeepingOptions {
  readonly metainfo: Torrent;
  readonly store: PieceStore;
  readonly pieces: Pieces;
  readonly picker: Picker<Peer>;
  readonly verifier: Verifier;
  readonly log: Logger;
  readonly isOrigin: (peerId: string) => boolean;
  readonly isClosed: () => boolean;
  /** The piece is in the store; `stored` are its bytes. */
  readonly settled: (piece: number, source: PieceSource, stored: Uint8Array) => void;
  /** A piece is to be fetched once more. */
  readonly again: () => void;
  /** The store cannot be written. */
  readonly failed: (error: Error) => void;
  readonly rejected: (piece: number, sender: Sender) => void;
  readonly ban: (member: Sender, reason: string) => void;
}

/** Of bytes that are the caller's: they are copied, so that they may change meanwhile. */
async function sha1OfCopy(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-1', new Uint8Array(bytes)));
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export function createKeeping(options: KeepingOptions): Keeping {
  const { metainfo, store, pieces, picker, isClosed } = options;
  const suspects = createSuspects();
  /** Writes that are running, by piece. */
  const storing = new Map<number, Promise<void>>();
  /** Several threads that write one file only wait for each other, spinning. */
  let lastWrite: Promise<void> = Promise.resolve();

  async function keep(piece: number, bytes: Uint8Array, source: PieceSource): Promise<void> {
    const running = storing.get(piece);
    if (running !== undefined) return running;
    const write = lastWrite
      .then(() => (isClosed() ? undefined : store.write(piece, bytes, source)))
      .then(
        () => options.settled(piece, source, bytes),
        (error: unknown) => {
          options.failed(error instanceof Error ? error : new Error(String(error)));
        },
      );
    storing.set(piece, write);
    lastWrite = write;
    await write;
    storing.delete(piece);
  }

  /** By whom most of the piece came. */
  function sourceOf(open: OpenPiece): PieceSource {
    let fromOrigin = 0;
    for (const sender of open.senders) {
      if (sender !== undefined && options.isOrigin(sender.peerId)) fromOrigin++;
    }
    return fromOrigin * 2 > open.senders.length ? 'origin-swarm' : 'peer';
  }

  function blame(open: OpenPiece): void {
    const { piece } = open;
    const liar = suspects.failed(open);
    const senders = open.senders.filter((sender) => sender !== undefined);
    const [someone] = senders;
    if (someone !== undefined) options.rejected(piece, liar ?? someone);
    options.log.warn(
      { piece, liar: liar?.label, senders: new Set(senders.map((s) => s.label)).size },
      'piece failed its hash',
    );
    pieces.close(piece, 'at rest');
    picker.failed(piece, trusted(piece));
    if (liar !== undefined) options.ban(liar, `sent a bad piece ${piece}`);
    options.again();
  }

  /** Who is to send a suspect piece whole: somebody who has not touched it, if possible. */
  function trusted(piece: number): Peer | undefined {
    const touched = new Set(suspects.of(piece).map((sender) => sender.peerId));
    const able = picker.holders(piece).filter((peer) => !peer.choking && !peer.closed);
    return able.find((peer) => !touched.has(peer.peerId)) ?? able[0];
  }

  return {
    keep,
    async verify(open) {
      const { piece, bytes } = open;
      open.seal();
      picker.verifying(piece);
      let digest: Uint8Array;
      try {
        digest = await options.verifier.sha1(bytes);
      } catch (error) {
        // The thread died: nobody's fault, once more.
        if (isClosed() || store.has(piece)) return;
        options.log.error({ err: error, piece }, 'piece could not be hashed');
        pieces.close(piece);
        picker.failed(piece);
        return;
      }
      // The piece may have come from elsewhere meanwhile, and then nobody is to blame for these bytes.
      if (isClosed() || pieces.get(piece) !== open) return;
      if (!equal(digest, pieceHash(metainfo, piece))) {
        blame(open);
        return;
      }
      const liars = suspects.verified(piece, bytes);
      await keep(piece, bytes, sourceOf(open));
      for (const liar of liars) options.ban(liar, `sent bad blocks of piece ${piece}`);
    },
    async isPiece(piece, bytes) {
      const digest = pieces.isLent(bytes)
        ? await options.verifier.sha1(bytes).catch(() => sha1OfCopy(bytes))
        : await sha1OfCopy(bytes);
      return equal(digest, pieceHash(metainfo, piece));
    },
  };
}
