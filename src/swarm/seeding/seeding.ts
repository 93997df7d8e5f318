/**
 * Owns what was shown to whom, and what peers were seen to have. What a peer is shown, in order:
 * 1. pieces that nobody was shown and nobody has, at random, up to its depth
 * 2. when there are none left: nothing, for the others have them all and will pass them on
 * 3. unless it is hungry (it got no piece for its patience): the rarest that it lacks, up to its depth, until
 *    it gets a piece from somebody else again. So a peer that meets nobody but us gets everything.
 * A piece whose last known holder left is as one that was never shown.
 */

export interface SeedingOptions {
  readonly pieceCount: number;
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
  /** Pieces that a peer may have been shown and not yet taken. Default 3. */
  readonly depth?: number;
  /** A peer that got no piece from anybody for so long is hungry; longer for one whose pieces come slowly. Default 2 s. */
  readonly patienceMs?: number;
}

/** Peers are named by any value. Nothing is kept of a peer that left. */
export interface Seeding<P> {
  /** Pieces that nobody was shown and nobody has. */
  readonly unrevealed: number;
  join(peer: P, now: number): void;
  leave(peer: P): void;
  /** The peer announced this piece, wherever it had it from. */
  have(peer: P, piece: number, now: number): void;
  haveAll(peer: P): void;
  /** As on the wire (BEP 3: high bit first). `bits` is not kept. */
  bitfield(peer: P, bits: Uint8Array): void;
  /** The last block of this piece went out to the peer: it counts against its depth no more. */
  taken(peer: P, piece: number): void;
  /**
   * Pieces to announce to this peer now; they count as shown. Call it when the peer joins, after
   * `have` and `taken` of it, and every quarter of a second for all (hunger, and pieces whose
   * holder left). `depth` overrides the default, for a peer whose pace needs more pieces at once.
   */
  reveal(peer: P, now: number, depth?: number): number[];
  /** Whether this peer was shown the piece. */
  shown(peer: P, piece: number): boolean;
}

const DEPTH = 3;
const PATIENCE_MS = 2_000;

/** A peer is hungry after so many of its own usual intervals between two pieces. */
const PATIENCE_INTERVALS = 4;

/** Pieces that are looked at for the rarest one. */
const PROBES = 32;

/** Bits of a peer's view of one piece. */
const HAS = 1;
const SHOWN = 2;

interface PeerState {
  readonly view: Uint8Array;
  readonly pending: Set<number>;
  gainedAt: number;
  /** Usual time between two pieces. */
  intervalMs: number;
  hungry: boolean;
  complete: boolean;
}

export function createSeeding<P>(options: SeedingOptions): Seeding<P> {
  const { pieceCount } = options;
  const random = options.random ?? Math.random;
  const defaultDepth = options.depth ?? DEPTH;
  const patienceMs = options.patienceMs ?? PATIENCE_MS;
  const peers = new Map<P, PeerState>();
  /** Peers that have the piece, and peers that were shown it (the same peer counts in both). */
  const copies = new Uint32Array(pieceCount);
  const shows = new Uint32Array(pieceCount);
  /** The pieces without copies and shows: the first `fresh` places of `pool`, in no order. */
  const pool = Uint32Array.from({ length: pieceCount }, (_, piece) => piece);
  const place = Uint32Array.from(pool);
  let fresh = pieceCount;

  function swap(a: number, b: number): void {
    const left = pool[a] ?? 0;
    const right = pool[b] ?? 0;
    pool[a] = right;
    pool[b] = left;
    place[right] = a;
    place[left] = b;
  }

  /** Keeps the pool in agreement with the counts of one piece. */
  function sort(piece: number): void {
    const at = place[piece] ?? 0;
    const unknown = copies[piece] === 0 && shows[piece] === 0;
    if (unknown && at >= fresh) swap(at, fresh++);
    else if (!unknown && at < fresh) swap(at, --fresh);
  }

  function holds(state: PeerState, piece: number): void {
    const view = state.view[piece] ?? 0;
    if ((view & HAS) !== 0) return;
    state.view[piece] = view | HAS;
    copies[piece] = (copies[piece] ?? 0) + 1;
    state.pending.delete(piece);
    sort(piece);
  }

  function show(state: PeerState, piece: number): void {
    state.view[piece] = (state.view[piece] ?? 0) | SHOWN;
    shows[piece] = (shows[piece] ?? 0) + 1;
    state.pending.add(piece);
    sort(piece);
  }

  /** A fresh piece that the peer was not shown, at random. */
  function freshFor(state: PeerState): number | undefined {
    // Everything fresh is unknown to this peer: nobody has it and nobody was shown it.
    if (fresh === 0 || state.complete) return undefined;
    return pool[Math.floor(random() * fresh)];
  }

  /** Of some pieces that the peer lacks, the one with the fewest copies. */
  function rarestFor(state: PeerState): number | undefined {
    const start = Math.floor(random() * pieceCount);
    let best: number | undefined;
    let bestCopies = Number.POSITIVE_INFINITY;
    let probes = 0;
    for (let step = 0; step < pieceCount && probes < PROBES; step++) {
      const piece = (start + step) % pieceCount;
      if (state.view[piece] !== 0) continue;
      probes++;
      const count = (copies[piece] ?? 0) + (shows[piece] ?? 0);
      if (count >= bestCopies) continue;
      best = piece;
      bestCopies = count;
    }
    return best;
  }

  function isHungry(state: PeerState, now: number): boolean {
    if (state.hungry) return true;
    const patience = Math.max(patienceMs, state.intervalMs * PATIENCE_INTERVALS);
    state.hungry = state.pending.size === 0 && now - state.gainedAt >= patience;
    return state.hungry;
  }

  return {
    get unrevealed() {
      return fresh;
    },
    join(peer, now) {
      if (peers.has(peer)) return;
      peers.set(peer, {
        view: new Uint8Array(pieceCount),
        pending: new Set(),
        gainedAt: now,
        intervalMs: 0,
        hungry: false,
        complete: false,
      });
    },
    leave(peer) {
      const state = peers.get(peer);
      if (state === undefined) return;
      peers.delete(peer);
      for (let piece = 0; piece < pieceCount; piece++) {
        const view = state.view[piece] ?? 0;
        if (view === 0) continue;
        if ((view & HAS) !== 0) copies[piece] = (copies[piece] ?? 1) - 1;
        if ((view & SHOWN) !== 0) shows[piece] = (shows[piece] ?? 1) - 1;
        sort(piece);
      }
    },
    have(peer, piece, now) {
      const state = peers.get(peer);
      if (state === undefined || piece < 0 || piece >= pieceCount) return;
      const view = state.view[piece] ?? 0;
      if ((view & HAS) !== 0) return;
      holds(state, piece);
      const interval = now - state.gainedAt;
      state.intervalMs = state.intervalMs === 0 ? interval : state.intervalMs * 0.8 + interval * 0.2;
      state.gainedAt = now;
      if ((view & SHOWN) === 0) state.hungry = false;
    },
    haveAll(peer) {
      const state = peers.get(peer);
      if (state === undefined) return;
      state.complete = true;
      for (let piece = 0; piece < pieceCount; piece++) holds(state, piece);
    },
    bitfield(peer, bits) {
      const state = peers.get(peer);
      if (state === undefined) return;
      for (let piece = 0; piece < pieceCount; piece++) {
        if (((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0) holds(state, piece);
      }
    },
    taken(peer, piece) {
      peers.get(peer)?.pending.delete(piece);
    },
    reveal(peer, now, depth = defaultDepth) {
      const state = peers.get(peer);
      const chosen: number[] = [];
      if (state === undefined || state.complete) return chosen;
      while (state.pending.size < depth) {
        const piece = freshFor(state) ?? (isHungry(state, now) ? rarestFor(state) : undefined);
        if (piece === undefined) break;
        show(state, piece);
        chosen.push(piece);
      }
      return chosen;
    },
    shown: (peer, piece) => ((peers.get(peer)?.view[piece] ?? 0) & SHOWN) !== 0,
  };
}
