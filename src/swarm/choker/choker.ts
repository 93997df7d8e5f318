/**
 * Slots for uploads, handed round by turns of bytes. Owns who is unchoked and since when; changes
 * only in `decide`. A peer that is choked looks for another source at once, so few are served at a
 * time and the rest bind late: a piece that one member has spreads by doubling, and not in a queue before that member.
 */

/** One connected peer as the choker sees it. */
export interface ChokeCandidate<P> {
  readonly peer: P;
  /** It wants pieces of ours. */
  readonly interested: boolean;
  /** Bytes that we have sent to it so far. */
  readonly bytesSent: number;
  /** It has asked for blocks that are not sent yet. Default true. */
  readonly waiting?: boolean;
  /** Pieces that it has, by its announcements: who is further behind comes sooner. Default 0. */
  readonly pieces?: number;
  /** Zone distance (see ranking): nearer comes first among equals. Default 0. */
  readonly distance?: number;
}

export interface ChokerOptions {
  /** Peers that may download from us at once, while more want to. Default 8. */
  readonly slots?: number;
  /** Bytes that a peer may download before others have their turn: a piece. Default 512 KiB. */
  readonly turnBytes?: number;
  /** A peer that asks for nothing for so long gives its slot to others. Default 50 ms. */
  readonly idleMs?: number;
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
}

export interface Choker<P> {
  /**
   * Who may download now. Call it when a peer becomes interested or not, or leaves, after each piece
   * or run that was sent, and every 100 ms while more are interested than there are slots. A peer
   * that loses its slot is choked, but what it asked for before is still sent to it (BEP 6: a choke does not
   * cancel requests), so that no piece is cut in two. The set is the choker's own: read it only. O(peers).
   * `bytesPerSecond` is what we send in all: turns are longer where that is much.
   */
  decide(candidates: Iterable<ChokeCandidate<P>>, now: number, bytesPerSecond?: number): ReadonlySet<P>;
  /** Whether this peer may download, by the last decision. */
  allows(peer: P): boolean;
}

/**
 * On real links four left a node's downlink idle now and then: with seven sources that each serve
 * four, fewer than four serve us about half of the time. See decision 0022.
 */
const SLOTS = 8;
const TURN_BYTES = 512 * 1024;
const IDLE_MS = 50;
/** A piece more than another puts a peer back in the line by so much. */
const AHEAD_MS = 10;

/** A peer that did not use its slot comes after those who may, for so long. */
const REST_MS = 500;

/** A turn lasts at least this long at our pace, so that handing slots round costs nothing on fast links. */
const TURN_SECONDS = 0.02;

const SPARE_STATES = 16;

/** What is known of a peer that is interested. */
interface PeerState<P> {
  readonly peer: P;
  /** The decision in which it was seen last: a peer that skipped one is as new. */
  seen: number;
  /** It has a slot. */
  served: boolean;
  /** What had been sent when its turn began, and when it last had something to ask for. */
  from: number;
  busyAt: number;
  /** When its last turn ended, or it began to wait. */
  since: number;
  /** It had a turn and had asked for nothing at its end. */
  idle: boolean;
  /** 1: it did not use its turn, and for a while it comes after those who may use theirs. */
  resting: number;
  pieces: number;
  distance: number;
  tie: number;
}

/** Who could not use a slot waits; who waited longest is first, the sooner the further it is behind; near before far. */
function byNeed<P>(a: PeerState<P>, b: PeerState<P>): number {
  return (
    a.resting - b.resting ||
    a.since + a.pieces * AHEAD_MS - (b.since + b.pieces * AHEAD_MS) ||
    a.distance - b.distance ||
    a.tie - b.tie
  );
}

/** Takes the neediest out. Few slots are free at a time: sorting all would cost more. */
function takeFirst<P>(waiting: PeerState<P>[]): PeerState<P> | undefined {
  let first = 0;
  for (let at = 1; at < waiting.length; at++) {
    const best = waiting[first];
    const other = waiting[at];
    if (best !== undefined && other !== undefined && byNeed(other, best) < 0) first = at;
  }
  const taken = waiting[first];
  const last = waiting.pop();
  if (last !== undefined && last !== taken) waiting[first] = last;
  return taken;
}

export function createChoker<P>(options: ChokerOptions = {}): Choker<P> {
  const slots = options.slots ?? SLOTS;
  const leastTurnBytes = options.turnBytes ?? TURN_BYTES;
  const idleMs = options.idleMs ?? IDLE_MS;
  const random = options.random ?? Math.random;
  const states = new Map<P, PeerState<P>>();
  const allowed = new Set<P>();
  let round = 0;

  /** The peer's state if it was seen in the round before, else a new one. */
  function stateOf(peer: P, now: number): PeerState<P> {
    let state = states.get(peer);
    if (state === undefined) {
      state = {
        peer,
        seen: round,
        served: false,
        from: 0,
        busyAt: now,
        since: now,
        idle: false,
        resting: 0,
        pieces: 0,
        distance: 0,
        tie: 0,
      };
      states.set(peer, state);
    } else if (state.seen !== round - 1) {
      state.served = false;
      state.since = now;
      state.idle = false;
    }
    state.seen = round;
    return state;
  }

  function isOver(
    state: PeerState<P>,
    candidate: ChokeCandidate<P>,
    turnBytes: number,
    now: number,
  ): boolean {
    if (candidate.waiting !== false) state.busyAt = now;
    return candidate.bytesSent - state.from >= turnBytes || now - state.busyAt > idleMs;
  }

  function decide(candidates: Iterable<ChokeCandidate<P>>, now: number, bytesPerSecond = 0): ReadonlySet<P> {
    const turnBytes = Math.max(leastTurnBytes, bytesPerSecond * TURN_SECONDS);
    const interested: ChokeCandidate<P>[] = [];
    for (const candidate of candidates) if (candidate.interested) interested.push(candidate);
    const crowded = interested.length > slots;
    const waiting: PeerState<P>[] = [];
    round++;
    allowed.clear();
    for (const candidate of interested) {
      const state = stateOf(candidate.peer, now);
      if (state.served) {
        if (!(isOver(state, candidate, turnBytes, now) && crowded)) {
          allowed.add(state.peer);
          continue;
        }
        state.served = false;
        state.since = now;
        state.idle = now - state.busyAt > idleMs;
      }
      state.resting = state.idle && now - state.since < REST_MS ? 1 : 0;
      state.pieces = candidate.pieces ?? 0;
      state.distance = candidate.distance ?? 0;
      state.tie = random();
      state.from = candidate.bytesSent;
      waiting.push(state);
    }
    while (allowed.size < slots) {
      const state = takeFirst(waiting);
      if (state === undefined) break;
      state.served = true;
      state.busyAt = now;
      allowed.add(state.peer);
    }
    // Those not seen this time count as new when they come again: kept a while only to be used again.
    if (states.size > interested.length * 2 + SPARE_STATES) {
      for (const [peer, state] of states) if (state.seen !== round) states.delete(peer);
    }
    return allowed;
  }

  return { decide, allows: (peer) => allowed.has(peer) };
}
