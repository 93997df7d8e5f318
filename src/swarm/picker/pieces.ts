/**
 * Who has what, and what each peer has that we could begin (candidates) or still want. All counts
 * are kept as events come, so that questions are answered without a search. A peer with few
 * candidates also keeps them as a list, in which the rarest is found exactly; one with many is
 * probed through the order of rarity.
 */
import { type Bits, clearBit, countBits, createBitRows, createBits, hasBit, setBit } from './bits.ts';
import type { PickerPeer } from './contract.ts';
import { createGateway, type Gateway } from './gateway.ts';
import type { Asked } from './open-pieces.ts';
import { createRarity } from './rarity.ts';

/** Lists are kept up to this length, and made again when a peer's candidates are half as many. */
const LIST_LIMIT = 128;

/** Of so few pieces no lists are kept: their bits are gone through as fast, and are a tenth of the memory. */
const LISTLESS_PIECES = 2_048;

/** Candidates of one rarity that are looked at for a peer without a list. */
const PROBES = 16;

/** Hits of a search among all the peer's pieces, of which the rarest is taken. */
const SAMPLES = 4;

/** Room for so many peers at first; it doubles. */
const PEERS_AT_FIRST = 4;

function reserve(array: Uint32Array<ArrayBuffer>, length: number): Uint32Array<ArrayBuffer> {
  if (length <= array.length) return array;
  const next = new Uint32Array(array.length * 2);
  next.set(array);
  return next;
}

export interface PeerState<P> extends Asked {
  readonly peer: P;
  readonly about: PickerPeer;
  /** It joined with everything: it is counted once, not in each piece. */
  complete: boolean;
  /** Its candidates, and some that are candidates no more; undefined when they are too many. */
  list: number[] | undefined;
  bytesPerSecond: number;
  /** Place in `everyone`, and in all that is kept by peer. */
  at: number;
}

export interface Pieces<P> {
  readonly everyone: readonly PeerState<P>[];
  readonly gateway: Gateway | undefined;
  /** Pieces that are not verified and that nobody has. */
  readonly unavailable: number;
  /** Pieces that are not begun. */
  readonly candidates: number;
  isCandidate(piece: number): boolean;
  isWanted(piece: number): boolean;
  has(state: PeerState<P>, piece: number): boolean;
  /** How many pieces the peer has; how many of these are candidates, and how many are wanted. */
  count(state: PeerState<P>): number;
  candidatesOf(state: PeerState<P>): number;
  wantedOf(state: PeerState<P>): number;
  join(peer: P, about: PickerPeer): PeerState<P>;
  leave(state: PeerState<P>): void;
  have(state: PeerState<P>, piece: number): boolean;
  haveAll(state: PeerState<P>): void;
  availability(piece: number): number;
  /** A piece was begun, or (`begun` false) is a candidate again. */
  begin(piece: number, begun: boolean): void;
  /** A piece is verified: of no more interest. */
  settle(piece: number): void;
  /** Whether the rules of the zone let this peer give us this piece. */
  may(state: PeerState<P>, piece: number, free: boolean): boolean;
  /** The rarest candidate, about, that the peer has and may give. `free`: the zone's rule is void. */
  rarest(state: PeerState<P>, free: boolean): number | undefined;
}

export function createPieces<P>(options: {
  readonly pieceCount: number;
  readonly held: (piece: number) => boolean;
  readonly name: string | undefined;
  readonly random: () => number;
}): Pieces<P> {
  const { pieceCount, random } = options;
  const rarity = createRarity(pieceCount, random);
  const gateway = options.name === undefined ? undefined : createGateway(pieceCount, options.name);
  const candidates = createBits(pieceCount);
  const wanted = createBits(pieceCount);
  /** Candidates that are ours to fetch into the zone and that nobody near has. */
  const fetchable = createBits(pieceCount);
  const near = gateway === undefined ? undefined : new Uint32Array(pieceCount);
  const everyone: PeerState<P>[] = [];
  /** By peer: what it has, how many that are, and how many of them are candidates and wanted. */
  const rows = createBitRows(pieceCount);
  let counts = new Uint32Array(PEERS_AT_FIRST);
  let candidateCounts = new Uint32Array(PEERS_AT_FIRST);
  let wantedCounts = new Uint32Array(PEERS_AT_FIRST);
  const listless = pieceCount <= LISTLESS_PIECES;
  let completePeers = 0;
  let completeNear = 0;
  let orphans = 0;

  for (let piece = 0; piece < pieceCount; piece++) {
    if (options.held(piece)) continue;
    setBit(wanted, piece);
    setBit(candidates, piece);
    rarity.add(piece);
    refreshFetchable(piece);
    orphans++;
  }

  function refreshFetchable(piece: number): void {
    if (gateway === undefined || near === undefined) return;
    const yes = hasBit(candidates, piece) && near[piece] === 0 && hasBit(gateway.ours, piece);
    if (yes) setBit(fetchable, piece);
    else clearBit(fetchable, piece);
  }

  function refreshAll(): void {
    if (gateway !== undefined) for (let piece = 0; piece < pieceCount; piece++) refreshFetchable(piece);
  }

  function counted(state: PeerState<P>, piece: number, by: 1 | -1): void {
    if (near !== undefined && state.about.far !== true) {
      near[piece] = (near[piece] ?? 0) + by;
      refreshFetchable(piece);
    }
    if (by === 1) rarity.raise(piece);
    else rarity.lower(piece);
    if (hasBit(wanted, piece) && rarity.count(piece) === (by === 1 ? 1 : 0)) orphans -= by;
  }

  function setCounts({ at }: PeerState<P>, all: number, startable: number, missing: number): void {
    counts[at] = all;
    candidateCounts[at] = startable;
    wantedCounts[at] = missing;
  }

  const candidatesOf = (state: PeerState<P>): number => candidateCounts[state.at] ?? 0;

  /** Makes the list anew from the bits. */
  function relist(state: PeerState<P>): void {
    const list: number[] = [];
    rows.each(state.at, candidates, (piece) => list.push(piece));
    state.list = list;
  }

  function enlist(state: PeerState<P>, piece: number): void {
    const { list } = state;
    if (list === undefined) return;
    list.push(piece);
    if (list.length <= LIST_LIMIT * 2) return;
    if (candidatesOf(state) > LIST_LIMIT) state.list = undefined;
    else state.list = list.filter((entry) => hasBit(candidates, entry));
  }

  function gains(state: PeerState<P>, piece: number): void {
    const { at } = state;
    rows.set(at, piece);
    counts[at] = (counts[at] ?? 0) + 1;
    if (!hasBit(wanted, piece)) return;
    wantedCounts[at] = (wantedCounts[at] ?? 0) + 1;
    if (!hasBit(candidates, piece)) return;
    candidateCounts[at] = (candidateCounts[at] ?? 0) + 1;
    enlist(state, piece);
  }

  /** Whether the peer may give only what is fetchable into the zone. */
  function restricted(state: PeerState<P>, free: boolean): boolean {
    return !free && gateway !== undefined && state.about.far === true && state.about.superSeed !== true;
  }

  function may(state: PeerState<P>, piece: number, free: boolean): boolean {
    if (gateway === undefined || near === undefined || !restricted(state, free)) return true;
    return completeNear === 0 && near[piece] === 0 && hasBit(gateway.ours, piece);
  }

  function rarestListed(state: PeerState<P>, list: number[], free: boolean): number | undefined {
    let best: number | undefined;
    let least = Number.POSITIVE_INFINITY;
    let ties = 0;
    for (let at = 0; at < list.length; at++) {
      const piece = list[at] ?? 0;
      if (!hasBit(candidates, piece)) {
        const last = list.pop() ?? 0;
        if (at < list.length) list[at--] = last;
        continue;
      }
      const peers = rarity.count(piece);
      if (peers > least || !may(state, piece, free)) continue;
      ties = peers < least ? 1 : ties + 1;
      least = peers;
      if (ties === 1 || random() * ties < 1) best = piece;
    }
    return best;
  }

  function rarestOfAll(state: PeerState<P>, free: boolean): number | undefined {
    let best: number | undefined;
    let least = Number.POSITIVE_INFINITY;
    let ties = 0;
    rows.each(state.at, candidates, (piece) => {
      const peers = rarity.count(piece);
      if (peers > least || !may(state, piece, free)) return;
      ties = peers < least ? 1 : ties + 1;
      least = peers;
      if (ties === 1 || random() * ties < 1) best = piece;
    });
    return best;
  }

  /** The rarest of some random members of both sets. */
  function rarestSampled(state: PeerState<P>, among: Bits): number | undefined {
    let best: number | undefined;
    for (let sample = 0; sample < SAMPLES; sample++) {
      const piece = rows.common(state.at, among, random);
      if (piece === undefined) return undefined;
      if (best === undefined || rarity.count(piece) < rarity.count(best)) best = piece;
    }
    return best;
  }

  return {
    everyone,
    gateway,
    get unavailable() {
      return completePeers > 0 ? 0 : orphans;
    },
    get candidates() {
      return rarity.size;
    },
    isCandidate: (piece) => hasBit(candidates, piece),
    isWanted: (piece) => hasBit(wanted, piece),
    has: (state, piece) => rows.has(state.at, piece),
    count: (state) => counts[state.at] ?? 0,
    candidatesOf,
    wantedOf: (state) => wantedCounts[state.at] ?? 0,
    join(peer, about) {
      const state: PeerState<P> = {
        peer,
        about,
        complete: false,
        list: listless ? undefined : [],
        outstanding: 0,
        pieces: new Map(),
        bytesPerSecond: 0,
        at: everyone.length,
      };
      everyone.push(state);
      rows.clear(state.at);
      counts = reserve(counts, everyone.length);
      candidateCounts = reserve(candidateCounts, everyone.length);
      wantedCounts = reserve(wantedCounts, everyone.length);
      setCounts(state, 0, 0, 0);
      if (
        gateway !== undefined &&
        about.far !== true &&
        about.name !== undefined &&
        about.superSeed !== true
      ) {
        gateway.join(about.name);
        refreshAll();
      }
      return state;
    },
    leave(state) {
      if (state.complete) {
        completePeers--;
        if (state.about.far !== true) completeNear--;
      } else {
        rows.each(state.at, undefined, (piece) => counted(state, piece, -1));
      }
      const last = everyone.pop();
      if (last !== undefined && last !== state) {
        rows.move(last.at, state.at);
        setCounts(state, counts[last.at] ?? 0, candidateCounts[last.at] ?? 0, wantedCounts[last.at] ?? 0);
        everyone[state.at] = last;
        last.at = state.at;
      }
      if (gateway === undefined || state.about.far === true || state.about.name === undefined) return;
      gateway.leave(state.about.name);
      refreshAll();
    },
    have(state, piece) {
      if (piece < 0 || piece >= pieceCount || rows.has(state.at, piece)) return false;
      gains(state, piece);
      counted(state, piece, 1);
      return true;
    },
    haveAll(state) {
      if (state.complete) return;
      rows.each(state.at, undefined, (piece) => counted(state, piece, -1));
      rows.fill(state.at, pieceCount);
      state.complete = true;
      completePeers++;
      if (state.about.far !== true) completeNear++;
      setCounts(state, pieceCount, rarity.size, countBits(wanted));
      state.list = undefined;
    },
    availability: (piece) => rarity.count(piece) + completePeers,
    begin(piece, begun) {
      if (begun === !hasBit(candidates, piece)) return;
      if (begun) {
        clearBit(candidates, piece);
        rarity.remove(piece);
      } else {
        setBit(candidates, piece);
        rarity.add(piece);
      }
      refreshFetchable(piece);
      for (let at = 0; at < everyone.length; at++) {
        if (!rows.has(at, piece)) continue;
        candidateCounts[at] = (candidateCounts[at] ?? 0) + (begun ? -1 : 1);
        const state = begun ? undefined : everyone[at];
        if (state !== undefined) enlist(state, piece);
      }
    },
    settle(piece) {
      if (!hasBit(wanted, piece)) return;
      clearBit(wanted, piece);
      if (rarity.count(piece) === 0) orphans--;
      for (let at = 0; at < everyone.length; at++) {
        if (rows.has(at, piece)) wantedCounts[at] = (wantedCounts[at] ?? 1) - 1;
      }
    },
    may,
    rarest(state, free) {
      if (candidatesOf(state) === 0) return undefined;
      if (listless && candidatesOf(state) <= LIST_LIMIT) return rarestOfAll(state, free);
      if (!listless && state.list === undefined && candidatesOf(state) <= LIST_LIMIT / 2) relist(state);
      if (state.list !== undefined) return rarestListed(state, state.list, free);
      if (restricted(state, free)) return completeNear > 0 ? undefined : rarestSampled(state, fetchable);
      const found = rarity.find(state.complete ? 0 : 1, PROBES, (piece) => rows.has(state.at, piece));
      return found ?? rarestSampled(state, candidates);
    },
  };
}
