/**
 * Who sent the bad bytes of a piece that failed its hash. One sender: it did. Several: the hash of
 * each block is kept, the piece is fetched again whole from one member, and the blocks that differ
 * from the good piece name the liars.
 */
import { createHash } from 'node:crypto';
import { BLOCK_BYTES } from '../wire/index.ts';
import type { OpenPiece, Sender } from './pieces.ts';

interface Attempt {
  readonly hashes: readonly string[];
  readonly senders: readonly (Sender | undefined)[];
}

/** Failed attempts that are kept for one piece. */
const MAX_ATTEMPTS = 8;

function blockHashes(bytes: Uint8Array): string[] {
  const hashes: string[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    hashes.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + BLOCK_BYTES))
        .digest('hex'),
    );
  }
  return hashes;
}

export interface Suspects {
  /** A piece failed. Returns its liar when there was one sender only. */
  failed(piece: OpenPiece): Sender | undefined;
  /** Whether attempts at this piece failed before: it is to be fetched whole from one member. */
  has(piece: number): boolean;
  /** Members that sent a part of a failed attempt at this piece. */
  of(piece: number): readonly Sender[];
  /** The piece is good now: who had sent something else for one of its blocks? */
  verified(piece: number, bytes: Uint8Array): readonly Sender[];
}

export function createSuspects(): Suspects {
  const attempts = new Map<number, Attempt[]>();
  return {
    failed(piece) {
      const names = new Map<string, Sender>();
      for (const sender of piece.senders) if (sender !== undefined) names.set(sender.peerId, sender);
      const [only] = names.values();
      if (only !== undefined && names.size === 1) {
        if (!attempts.has(piece.piece)) attempts.set(piece.piece, []);
        return only;
      }
      const earlier = attempts.get(piece.piece) ?? [];
      earlier.push({ hashes: blockHashes(piece.bytes), senders: [...piece.senders] });
      attempts.set(piece.piece, earlier.slice(-MAX_ATTEMPTS));
      return undefined;
    },
    has: (piece) => attempts.has(piece),
    of: (piece) =>
      (attempts.get(piece) ?? []).flatMap((attempt) =>
        attempt.senders.filter((sender) => sender !== undefined),
      ),
    verified(piece, bytes) {
      const earlier = attempts.get(piece);
      if (earlier === undefined) return [];
      attempts.delete(piece);
      if (earlier.length === 0) return [];
      const good = blockHashes(bytes);
      const liars = new Map<string, Sender>();
      for (const { hashes, senders } of earlier) {
        senders.forEach((sender, block) => {
          if (sender !== undefined && hashes[block] !== good[block]) liars.set(sender.peerId, sender);
        });
      }
      return [...liars.values()];
    },
  };
}
