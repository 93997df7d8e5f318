/** The upload side of one blob: what we announce to whom, and who may download from us. */
import type { Peer } from '../peer/index.ts';

export interface SharingOptions {
  readonly pieceCount: number;
  readonly holds: (piece: number) => boolean;
  readonly complete: () => boolean;
}

export interface Sharing {
  /** How our pieces are told to a new peer. */
  greeting(): 'all' | 'none' | 'held';
  join(peer: Peer): void;
  leave(peer: Peer): void;
  /** We have this piece now. */
  gained(piece: number): void;
  interested(peer: Peer): void;
}

export function createSharing(options: SharingOptions): Sharing {
  const peers = new Set<Peer>();
  let gained = false;
  return {
    greeting() {
      if (options.complete()) return 'all';
      if (gained) return 'held';
      for (let piece = 0; piece < options.pieceCount; piece++) if (options.holds(piece)) return 'held';
      return 'none';
    },
    join: (peer) => void peers.add(peer),
    leave: (peer) => void peers.delete(peer),
    gained(piece) {
      gained = true;
      for (const peer of peers) peer.announce(piece);
    },
    interested(peer) {
      peer.setChoking(!peer.interested);
    },
  };
}
