/**
 * Owns what was shown to whom, and what peers were seen to have. Each turn shows, in order:
 * 1. pieces that were shown much longer ago than pieces usually take to spread, to somebody else
 * 2. pieces that nobody was shown and nobody has, in turn to the peers that have room; who did not pass on
 *    what it was shown in the last seconds comes later, so that a slow peer is shown little
 * 3. when there are none left: what was not passed on in twice the usual time, to somebody else; of the rest
 *    nothing, for the others have them all and will pass them on
 * 4. except to a hungry peer (it got no piece from anybody for its patience): the rarest that it lacks,
 *    until it gets a piece from somebody else. So a peer that meets nobody but us gets everything, and
 *    many such peers get it at the same pace.
 * Only so many pieces are shown and not taken at a time as leave in about a second: a piece that is
 * whole early is passed on early, and many pieces sent at once are all whole late.
 * A piece whose last known holder left is as one that was never shown.
 */

import { createFresh } from './fresh.ts';
import { createPace } from './pace.ts';

export interface SeedingOptions {
  readonly pieceCount: number;
  /** Whether we have this piece, and may show it; of others we are told by `gained`. Default: all of them. */
  readonly held?: (piece: number) => boolean;
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
  /** Pieces that one peer may have been shown and not yet taken, while others wait. Default 2. */
  readonly depth?: number;
  /** Pieces that all peers together may have been shown and not yet taken, at least. Default 8. */
  readonly totalDepth?: number;
  /** What was shown should take about this long to leave, at the pace seen so far. Default 0.5 s. */
  readonly aheadMs?: number;
  /** A peer that got no piece from anybody for so long is hungry; longer for one whose pieces come slowly. Default 2 s. */
  readonly patienceMs?: number;
}

/** A piece to announce to a peer. */
export interface Revelation<P> {
  readonly peer: P;
  readonly piece: number;
}

/** Peers are named by any value. Nothing is kept of a peer that left. */
export interface Seeding<P> {
  /** Pieces that nobody was shown and nobody has. */
  readonly unrevealed: number;
  /** `observed`: it knows our pieces already; what it has counts, but nothing is shown to it. */
  join(peer: P, now: number, observed?: boolean): void;
  /** `held` is true for this piece from now on. */
  gained(piece: number): void;
  leave(peer: P): void;
  /** The peer announced this piece, wherever it had it from. */
  have(peer: P, piece: number, now: number): void;
  haveAll(peer: P): void;
  /** As on the wire (BEP 3: high bit first). `bits` is not kept. */
  bitfield(peer: P, bits: Uint8Array): void;
  /** The last block of this piece was handed to the peer's socket: it counts as taken. */
  taken(peer: P, piece: number, now?: number): void;
  /**
   * What to announce to whom now; it counts as shown. Call it after any of the above, and every
   * quarter of a second (hunger). O(peers) when something is shown, else O(1) but for hunger.
   */
  revealAll(now: number): Revelation<P>[];
  /** The same for one peer only, without the bound over all peers. */
  reveal(peer: P, now: number, depth?: number): number[];
  /** Whether this peer was shown the piece. */
  shown(peer: P, piece: number): boolean;
}

const DEPTH = 2;
const TOTAL_DEPTH = 8;
const AHEAD_MS = 500;
const PATIENCE_MS = 2_000;

/** A peer is hungry after so many of its own usual intervals between two pieces. */
const PATIENCE_INTERVALS = 4;

/** Pieces that are looked at for the rarest one. */
const PROBES = 32;

/** A piece shown and not taken for so long no longer keeps others from being shown. */
const FORGET_MS = 5_000;

/**
 * A piece that was not passed on for so long is held against its taker no more: soon where nobody passes anything on
 * (peers that do not know one another), else whoever came late would be shown all until it has kept as
 * many as the others; late where others do pass on, so that a slow peer is shown little.
 */
const LAPSE_MS = 5_000;
const LAPSE_WHILE_SPREADING_MS = 20_000;

/** A piece should be seen at a second peer within so many times the usual, and at least after this. */
const SPREAD_FACTOR = 2;
const MIN_SPREAD_MS = 500;

/** So much longer while there are pieces that nobody was shown: clients read in order, and all of them wait for one that is stuck. */
const OVERDUE_FACTOR = 3;

/** Bits of a peer's view of one piece. */
const HAS = 1;
const SHOWN = 2;

/** A piece was shown to a peer. */
interface Showing<P> {
  readonly to: PeerState<P>;
  readonly at: number;
  /** When it was last found that nobody else may have the piece. */
  triedAt: number;
}

interface PeerState<P> {
  readonly peer: P;
  /** Pieces that it was shown in the last seconds and that were not seen at anybody else before it was too late. */
  unspread: number;
  /** Which showing was its last one, of all. */
  turn: number;
  readonly view: Uint8Array;
  /** Shown and not taken, with the time of showing. */
  readonly pending: Map<number, number>;
  gainedAt: number;
  /** Usual time between two pieces. */
  intervalMs: number;
  hungry: boolean;
  /** Has everything, or knows that we have. */
  closed: boolean;
}

export function createSeeding<P>(options: SeedingOptions): Seeding<P> {
  const { pieceCount, held = () => true } = options;
  const random = options.random ?? Math.random;
  const depth = options.depth ?? DEPTH;
  const totalDepth = options.totalDepth ?? TOTAL_DEPTH;
  const aheadMs = options.aheadMs ?? AHEAD_MS;
  const patienceMs = options.patienceMs ?? PATIENCE_MS;
  const peers = new Map<P, PeerState<P>>();
  /** Peers that have the piece, and peers that were shown it (the same peer may count in both). */
  const copies = new Uint32Array(pieceCount);
  const shows = new Uint32Array(pieceCount);
  /** The pieces of ours without copies and shows. */
  const fresh = createFresh(pieceCount, random);
  const pace = createPace();
  let pending = 0;
  let forgotAt = 0;
  /** Pieces shown and not yet seen at another peer than who was shown them last; oldest first. */
  const unspread = new Map<number, Showing<P>>();
  /** What counts against who was shown it; oldest first. */
  const counted = new Set<Showing<P>>();
  let turns = 0;
  /** Usual time from showing a piece to seeing it spread, and when one did last. */
  let spreadMs = 0;
  let spreadAt = Number.NEGATIVE_INFINITY;

  const sort = (piece: number): void =>
    fresh.set(piece, copies[piece] === 0 && shows[piece] === 0 && held(piece));

  function settle(state: PeerState<P>, piece: number): void {
    if (state.pending.delete(piece)) pending--;
  }

  /** The piece was seen at a peer: has it spread? */
  function spread(piece: number, by: PeerState<P>, now: number | undefined): void {
    const last = unspread.get(piece);
    if (last === undefined || last.to === by) return;
    unspread.delete(piece);
    if (counted.delete(last)) last.to.unspread--;
    if (now === undefined) return;
    spreadAt = now;
    const took = now - last.at;
    spreadMs = spreadMs === 0 ? took : spreadMs * 0.9 + took * 0.1;
  }

  function holds(state: PeerState<P>, piece: number, now?: number): void {
    spread(piece, state, now);
    const view = state.view[piece] ?? 0;
    if ((view & HAS) !== 0) return;
    state.view[piece] = view | HAS;
    copies[piece] = (copies[piece] ?? 0) + 1;
    settle(state, piece);
    sort(piece);
  }

  function show(state: PeerState<P>, piece: number, now: number): void {
    state.view[piece] = (state.view[piece] ?? 0) | SHOWN;
    shows[piece] = (shows[piece] ?? 0) + 1;
    state.pending.set(piece, now);
    // Who was shown it before and did not pass it on: that still counts.
    const showing = { to: state, at: now, triedAt: now };
    unspread.delete(piece);
    unspread.set(piece, showing);
    counted.add(showing);
    state.unspread++;
    state.turn = ++turns;
    pending++;
    sort(piece);
  }

  /** Of some pieces that the peer lacks, the one with the fewest copies. */
  function rarestFor(state: PeerState<P>): number | undefined {
    const start = Math.floor(random() * pieceCount);
    let best: number | undefined;
    let bestCopies = Number.POSITIVE_INFINITY;
    let probes = 0;
    for (let step = 0; step < pieceCount && probes < PROBES; step++) {
      const piece = (start + step) % pieceCount;
      if (state.view[piece] !== 0 || !held(piece)) continue;
      probes++;
      const count = (copies[piece] ?? 0) + (shows[piece] ?? 0);
      if (count >= bestCopies) continue;
      best = piece;
      bestCopies = count;
    }
    return best;
  }

  function isHungry(state: PeerState<P>, now: number): boolean {
    if (state.hungry) return true;
    const patience = Math.max(patienceMs, state.intervalMs * PATIENCE_INTERVALS);
    state.hungry = state.pending.size === 0 && now - state.gainedAt >= patience;
    return state.hungry;
  }

  /** How many pieces may be shown and not taken. */
  const ceiling = (now: number): number => Math.max(totalDepth, Math.ceil(pace.perMs(now) * aheadMs));

  /** A peer that does not take what it was shown must not hold the others up, nor lose its turns for ever. */
  function forget(now: number): void {
    if (now - forgotAt < FORGET_MS / 4) return;
    forgotAt = now;
    for (const state of peers.values()) {
      for (const [piece, at] of state.pending) {
        if (now - at < FORGET_MS) break;
        settle(state, piece);
      }
    }
    const lapse = now - spreadAt < LAPSE_MS ? LAPSE_WHILE_SPREADING_MS : LAPSE_MS;
    for (const showing of counted) {
      if (now - showing.at < lapse) break;
      counted.delete(showing);
      showing.to.unspread--;
    }
  }

  /** The peer with room that passes on best what it was shown, and of those whose turn is longest ago. Not one that knows `piece`. */
  function neediest(room: number, piece?: number): PeerState<P> | undefined {
    let best: PeerState<P> | undefined;
    let bestOrder = Number.POSITIVE_INFINITY;
    for (const state of peers.values()) {
      if (state.closed || state.pending.size >= room) continue;
      if (piece !== undefined && state.view[piece] !== 0) continue;
      const order = state.unspread + (state.turn + random()) / (turns + 1);
      if (order >= bestOrder) continue;
      best = state;
      bestOrder = order;
    }
    return best;
  }

  /** What should have spread by now is shown to somebody else: its taker is slow, or does not share. */
  function again(now: number, limit: number, room: number, shownNow: Revelation<P>[]): void {
    const usual = Math.max(MIN_SPREAD_MS, spreadMs * SPREAD_FACTOR);
    const patience = fresh.size > 0 ? usual * OVERDUE_FACTOR : usual;
    let looks = PROBES;
    for (const [piece, last] of unspread) {
      if (pending >= limit || now - last.triedAt < patience || looks-- === 0) return;
      const state = neediest(room, piece);
      if (state === undefined) {
        // Nobody else may have it now: looked at again after the same patience.
        last.triedAt = now;
        unspread.delete(piece);
        unspread.set(piece, last);
        continue;
      }
      show(state, piece, now);
      shownNow.push({ peer: state.peer, piece });
    }
  }

  /** Shows one more piece, if there is one for this peer. */
  function showNext(state: PeerState<P>, now: number): number | undefined {
    if (state.closed) return undefined;
    const piece = fresh.next() ?? (isHungry(state, now) ? rarestFor(state) : undefined);
    if (piece !== undefined) show(state, piece, now);
    return piece;
  }

  /** Whose turn is longest ago comes first: with more hungry peers than may be shown at a time, all get on. */
  function feed(now: number, limit: number, shownNow: Revelation<P>[]): void {
    const hungry = [...peers.values()].filter(
      (state) => !state.closed && state.pending.size < depth && isHungry(state, now),
    );
    for (const state of hungry.toSorted((a, b) => a.turn - b.turn)) {
      while (pending < limit && state.pending.size < depth) {
        const piece = showNext(state, now);
        if (piece === undefined) break;
        shownNow.push({ peer: state.peer, piece });
      }
    }
  }

  for (let piece = 0; piece < pieceCount; piece++) if (!held(piece)) sort(piece);

  return {
    gained: sort,
    get unrevealed() {
      return fresh.size;
    },
    join(peer, now, observed = false) {
      if (peers.has(peer)) return;
      peers.set(peer, {
        peer,
        unspread: 0,
        view: new Uint8Array(pieceCount),
        pending: new Map(),
        turn: 0,
        gainedAt: now,
        intervalMs: 0,
        hungry: false,
        closed: observed,
      });
    },
    leave(peer) {
      const state = peers.get(peer);
      if (state === undefined) return;
      peers.delete(peer);
      pending -= state.pending.size;
      for (const [piece, { to }] of unspread) if (to === state) unspread.delete(piece);
      for (const showing of counted) if (showing.to === state) counted.delete(showing);
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
      holds(state, piece, now);
      const interval = now - state.gainedAt;
      state.intervalMs = state.intervalMs === 0 ? interval : state.intervalMs * 0.8 + interval * 0.2;
      state.gainedAt = now;
      if ((view & SHOWN) === 0) state.hungry = false;
    },
    haveAll(peer) {
      const state = peers.get(peer);
      if (state === undefined) return;
      state.closed = true;
      for (let piece = 0; piece < pieceCount; piece++) holds(state, piece);
    },
    bitfield(peer, bits) {
      const state = peers.get(peer);
      if (state === undefined) return;
      for (let piece = 0; piece < pieceCount; piece++) {
        if (((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0) holds(state, piece);
      }
    },
    taken(peer, piece, now) {
      const state = peers.get(peer);
      if (state === undefined) return;
      settle(state, piece);
      pace.left(now);
    },
    reveal(peer, now, most = depth) {
      const state = peers.get(peer);
      const pieces: number[] = [];
      while (state !== undefined && state.pending.size < most) {
        const piece = showNext(state, now);
        if (piece === undefined) break;
        pieces.push(piece);
      }
      return pieces;
    },
    revealAll(now) {
      const shownNow: Revelation<P>[] = [];
      forget(now);
      const limit = ceiling(now);
      // A few peers are shown more at once, so that what one peer can take is not the bound.
      const room = Math.max(depth, Math.ceil(limit / Math.max(1, peers.size)));
      again(now, limit, room, shownNow);
      while (fresh.size > 0 && pending < limit) {
        const state = neediest(room);
        if (state === undefined) break;
        const piece = showNext(state, now);
        if (piece === undefined) break;
        shownNow.push({ peer: state.peer, piece });
      }
      if (fresh.size === 0 && pending < limit) feed(now, limit, shownNow);
      return shownNow;
    },
    shown: (peer, piece) => ((peers.get(peer)?.view[piece] ?? 0) & SHOWN) !== 0,
  };
}
