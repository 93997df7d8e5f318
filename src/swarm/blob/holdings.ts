/** Which pieces each connected peer has, as far as it told: a bit a piece and a count. */
import type { Peer } from '../peer/index.ts';

export interface Holdings {
  join(peer: Peer): void;
  leave(peer: Peer): void;
  /** False when we knew. */
  add(peer: Peer, piece: number): boolean;
  addAll(peer: Peer, bits: Uint8Array | 'all'): void;
  has(peer: Peer, piece: number): boolean;
  isComplete(peer: Peer): boolean;
  /** How many pieces it has. */
  count(peer: Peer): number;
  /** As on the wire: high bit first. */
  bits(peer: Peer): Uint8Array;
  /** Everybody who is connected. */
  peers(): Iterable<Peer>;
}

interface Held {
  readonly bits: Uint8Array;
  count: number;
}

export function createHoldings(pieceCount: number): Holdings {
  const held = new Map<Peer, Held>();
  const nothing = new Uint8Array(Math.ceil(pieceCount / 8));

  function add(one: Held, piece: number): boolean {
    const mask = 0x80 >> (piece & 7);
    const byte = one.bits[piece >> 3] ?? 0;
    if ((byte & mask) !== 0) return false;
    one.bits[piece >> 3] = byte | mask;
    one.count++;
    return true;
  }

  return {
    join: (peer) => void held.set(peer, { bits: new Uint8Array(nothing.length), count: 0 }),
    leave: (peer) => void held.delete(peer),
    add(peer, piece) {
      const one = held.get(peer);
      return one !== undefined && add(one, piece);
    },
    addAll(peer, bits) {
      const one = held.get(peer);
      if (one === undefined) return;
      for (let piece = 0; piece < pieceCount; piece++) {
        if (bits === 'all' || ((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0) add(one, piece);
      }
    },
    has(peer, piece) {
      const bits = held.get(peer)?.bits ?? nothing;
      return ((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0;
    },
    isComplete: (peer) => held.get(peer)?.count === pieceCount,
    count: (peer) => held.get(peer)?.count ?? 0,
    bits: (peer) => held.get(peer)?.bits ?? nothing,
    peers: () => held.keys(),
  };
}
