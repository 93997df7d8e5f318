/**
 * The upload side of one blob: which of our pieces we announce to whom, and who may download from
 * us. While we download, everybody hears of each piece as we get it. Once we have the whole blob,
 * the first member that connects is told so, and those that join it are shown a few pieces at a
 * time (super-seeding), so that each piece leaves us about once and they exchange the rest. A seed
 * that still grows shows what it has in the same way.
 */
import { createChoker } from '../choker/index.ts';
import type { Peer } from '../peer/index.ts';
import { createMeter } from '../rate/index.ts';
import { createSeeding, type Seeding } from '../seeding/index.ts';
import type { Holdings } from './holdings.ts';
import { createSoon } from './soon.ts';

/** How often slots are handed round although nothing happened. */
const DECIDE_MS = 100;

/** A member's turn is a piece, but not less than this. */
const MIN_TURN_BYTES = 512 * 1024;

/** The peer ids of our own kind begin so. Other clients are told all our pieces: super-seeding is nothing that they need to bear. */
const OUR_KIND = Buffer.from('-SH').toString('hex');
const REVEAL_MS = 250;

const isOurKind = (peer: Peer): boolean => peer.peerId.startsWith(OUR_KIND);

export interface SharingOptions {
  readonly pieceCount: number;
  readonly pieceLength: number;
  readonly holds: (piece: number) => boolean;
  readonly holdings: Holdings;
  /** Zone distance of a peer. */
  readonly distance: (peer: Peer) => number;
  readonly now: () => number;
}

export interface Sharing {
  /** A peer connected: tells it our pieces. Among the first messages to it. */
  join(peer: Peer): void;
  leave(peer: Peer): void;
  /** The peer announced a piece that we did not know it has. */
  have(peer: Peer, piece: number): void;
  /** The peer told its pieces at the beginning. */
  pieces(peer: Peer, bits: Uint8Array | 'all'): void;
  /** The last block of a piece went out to the peer. */
  served(peer: Peer, piece: number): void;
  /** Block bytes went out to the peer. */
  sent(peer: Peer, bytes: number): void;
  /** We have this piece now. */
  gained(piece: number): void;
  /** We only seed from now on: what we have, and what `gained` tells. */
  completed(): void;
  /** The peer became interested in our pieces, or not. */
  interested(): void;
  tick(now: number): void;
  close(): void;
}

export function createSharing(options: SharingOptions): Sharing {
  const { holdings, now } = options;
  const turnBytes = Math.max(options.pieceLength, MIN_TURN_BYTES);
  /** While we super-seed, what is shown is the gate, and nobody is choked. */
  let choker = createChoker<Peer>({ turnBytes });
  const meter = createMeter(options.now());
  let seeding: Seeding<Peer> | undefined;
  let gained = false;
  let decideAt = 0;
  let revealAt = 0;

  function decide(): void {
    const at = now();
    decideAt = at + DECIDE_MS;
    const candidates = [...holdings.peers()].map((peer) => ({
      peer,
      interested: peer.interested,
      bytesSent: peer.bytesOut,
      waiting: peer.wanted > 0,
      pieces: holdings.count(peer),
      distance: options.distance(peer),
    }));
    const allowed = choker.decide(candidates, at, meter.rate(at));
    for (const { peer } of candidates) peer.setChoking(!allowed.has(peer));
  }

  const deciding = createSoon(decide);

  function reveal(): void {
    if (seeding === undefined) return;
    const at = now();
    revealAt = at + REVEAL_MS;
    for (const { peer, piece } of seeding.revealAll(at)) peer.announce(piece, 'now');
  }

  function isWhole(): boolean {
    for (let piece = 0; piece < options.pieceCount; piece++) if (!options.holds(piece)) return false;
    return true;
  }

  function isEmpty(): boolean {
    if (gained) return false;
    for (let piece = 0; piece < options.pieceCount; piece++) if (options.holds(piece)) return false;
    return true;
  }

  return {
    join(peer) {
      if (seeding === undefined) {
        peer.greet(isEmpty() ? 'none' : 'held', false);
        return;
      }
      const everything = !isOurKind(peer);
      peer.greet(everything ? (isWhole() ? 'all' : 'held') : 'none', true);
      seeding.join(peer, now(), everything);
      reveal();
    },
    leave(peer) {
      seeding?.leave(peer);
      reveal();
      if (peer.interested && !peer.amChoking) deciding.ask();
    },
    have(peer, piece) {
      seeding?.have(peer, piece, now());
      reveal();
    },
    pieces(peer, bits) {
      if (bits === 'all') seeding?.haveAll(peer);
      else seeding?.bitfield(peer, bits);
      reveal();
    },
    served(peer, piece) {
      seeding?.taken(peer, piece, now());
      reveal();
    },
    sent(peer, bytes) {
      meter.add(bytes);
      const turnIsOver =
        Math.floor(peer.bytesOut / turnBytes) !== Math.floor((peer.bytesOut - bytes) / turnBytes);
      if (peer.wanted === 0 || turnIsOver) deciding.ask();
    },
    gained(piece) {
      gained = true;
      if (seeding !== undefined) {
        seeding.gained(piece);
        for (const peer of holdings.peers()) if (!isOurKind(peer)) peer.announce(piece, 'now');
        reveal();
        return;
      }
      // Who has it already only counts it: a message each would be most of what small swarms send.
      for (const peer of holdings.peers()) peer.announce(piece, holdings.has(peer, piece) ? 'later' : 'now');
      deciding.ask();
    },
    completed() {
      seeding = createSeeding({ pieceCount: options.pieceCount, held: options.holds });
      choker = createChoker({ slots: Number.POSITIVE_INFINITY, turnBytes });
      for (const peer of holdings.peers()) {
        // These know all our pieces; what they have still counts as seen.
        seeding.join(peer, now(), true);
        seeding.bitfield(peer, holdings.bits(peer));
      }
    },
    interested: deciding.ask,
    tick(at) {
      if (at >= decideAt) decide();
      if (at >= revealAt) reveal();
    },
    close: deciding.close,
  };
}
