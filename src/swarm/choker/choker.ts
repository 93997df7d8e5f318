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

interface Turn {
  /** What had been sent when the turn began. */
  readonly from: number;
  /** When it last had something to ask for. */
  busyAt: number;
}

interface End {
  readonly at: number;
  /** It had asked for nothing. */
  readonly idle: boolean;
}

interface Waiting<P> {
  readonly peer: P;
  readonly since: number;
  /** It had a turn and did not use it: for a while it comes after those who may. */
  readonly resting: number;
  readonly pieces: number;
  readonly distance: number;
  readonly tie: number;
  readonly from: number;
}

/** Who could not use a slot waits; who waited longest is first, the sooner the further it is behind; near before far. */
function byNeed<P>(a: Waiting<P>, b: Waiting<P>): number {
  return (
    a.resting - b.resting ||
    a.since + a.pieces * AHEAD_MS - (b.since + b.pieces * AHEAD_MS) ||
    a.distance - b.distance ||
    a.tie - b.tie
  );
}

export function createChoker<P>(options: ChokerOptions = {}): Choker<P> {
  const slots = options.slots ?? SLOTS;
  const leastTurnBytes = options.turnBytes ?? TURN_BYTES;
  const idleMs = options.idleMs ?? IDLE_MS;
  const random = options.random ?? Math.random;
  let turns = new Map<P, Turn>();
  /** When the last turn of a peer ended; only of peers that are interested still. */
  let ended = new Map<P, End>();
  let allowed = new Set<P>();

  function isOver(turn: Turn, candidate: ChokeCandidate<P>, turnBytes: number, now: number): boolean {
    if (candidate.waiting !== false) turn.busyAt = now;
    return candidate.bytesSent - turn.from >= turnBytes || now - turn.busyAt > idleMs;
  }

  function decide(candidates: Iterable<ChokeCandidate<P>>, now: number, bytesPerSecond = 0): ReadonlySet<P> {
    const turnBytes = Math.max(leastTurnBytes, bytesPerSecond * TURN_SECONDS);
    const interested = [...candidates].filter((candidate) => candidate.interested);
    const next = new Map<P, Turn>();
    const nextEnded = new Map<P, End>();
    const waiting: Waiting<P>[] = [];
    const crowded = interested.length > slots;
    for (const candidate of interested) {
      const { peer } = candidate;
      const turn = turns.get(peer);
      if (turn !== undefined && !(isOver(turn, candidate, turnBytes, now) && crowded)) {
        next.set(peer, turn);
        continue;
      }
      const end =
        turn === undefined
          ? (ended.get(peer) ?? { at: now, idle: false })
          : { at: now, idle: now - turn.busyAt > idleMs };
      nextEnded.set(peer, end);
      waiting.push({
        peer,
        since: end.at,
        resting: end.idle && now - end.at < REST_MS ? 1 : 0,
        pieces: candidate.pieces ?? 0,
        distance: candidate.distance ?? 0,
        tie: random(),
        from: candidate.bytesSent,
      });
    }
    if (waiting.length > slots - next.size) {
      waiting.sort(byNeed);
    }
    for (const { peer, from } of waiting.slice(0, Math.max(0, slots - next.size))) {
      next.set(peer, { from, busyAt: now });
    }
    turns = next;
    ended = nextEnded;
    allowed = new Set(next.keys());
    return allowed;
  }

  return { decide, allows: (peer) => allowed.has(peer) };
}
