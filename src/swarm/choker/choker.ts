/** Slots for uploads, handed round. Owns who is unchoked since when; changes only in `decide`. */

/** One connected peer as the choker sees it. */
export interface ChokeCandidate<P> {
  readonly peer: P;
  /** It wants pieces of ours. */
  readonly interested: boolean;
  /** Bytes that we have sent to it so far: who has had least comes first. */
  readonly bytesSent: number;
  /** Zone distance (see ranking): nearer comes first among equals. Default 0. */
  readonly distance?: number;
}

export interface ChokerOptions {
  /** Peers that may download from us at once. */
  readonly slots: number;
  /** A peer keeps its slot at least this long while others wait. Default 2 s. */
  readonly turnMs?: number;
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
}

export interface Choker<P> {
  /**
   * Who may download now. Call it when somebody becomes interested or not, or leaves, and every
   * second while more are interested than there are slots. The set is the choker's own: read it only.
   */
  decide(candidates: Iterable<ChokeCandidate<P>>, now: number): ReadonlySet<P>;
  /** Whether this peer may download, by the last decision. */
  allows(peer: P): boolean;
}

const TURN_MS = 2_000;

export function createChoker<P>(options: ChokerOptions): Choker<P> {
  const turnMs = options.turnMs ?? TURN_MS;
  const random = options.random ?? Math.random;
  let since = new Map<P, number>();
  let allowed: ReadonlySet<P> = new Set();

  /** Smaller is served earlier. A running turn is finished first; then who has had least, near before far. */
  function order(candidate: ChokeCandidate<P>, now: number): readonly [number, number] {
    const at = since.get(candidate.peer);
    const inTurn = at !== undefined && now - at < turnMs;
    return [inTurn ? 0 : 1, candidate.bytesSent * (1 + (candidate.distance ?? 0))];
  }

  return {
    decide(candidates, now) {
      const waiting: { readonly peer: P; readonly order: readonly [number, number]; readonly tie: number }[] =
        [];
      for (const candidate of candidates) {
        if (!candidate.interested) continue;
        waiting.push({ peer: candidate.peer, order: order(candidate, now), tie: random() });
      }
      if (waiting.length > options.slots) {
        waiting.sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1] || a.tie - b.tie);
        waiting.length = options.slots;
      }
      const next = new Map<P, number>();
      for (const { peer, order: turn } of waiting) {
        next.set(peer, turn[0] === 0 ? (since.get(peer) ?? now) : now);
      }
      since = next;
      allowed = new Set(next.keys());
      return allowed;
    },
    allows: (peer) => allowed.has(peer),
  };
}
