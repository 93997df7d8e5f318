/**
 * Which piece to ask a member for next. Pure: state in, piece out. In this order:
 *
 * 1. the window that a client waits for, in its order;
 * 2. pieces that are already open, so that few are open at once (memory) and they finish soon;
 * 3. the rarest of the pieces that nobody was asked for, at random among equals.
 *
 * Conditions on every pick:
 * - the member has the piece and did not refuse it;
 * - the piece has a block that nobody was asked for;
 * - the origin is asked only as far as `originUse` allows;
 * - a piece that is reserved for one member (after a failed hash) is asked of that member only, and a
 *   member on parole gets only pieces that it alone fills, so that the next failure names the culprit;
 * - the number of open pieces is bounded.
 */
import type { OriginUse } from './origin-use.ts';

/** What the picker needs to know of a missing piece. */
export interface PieceView {
  /** A block is free to be asked. */
  readonly free: boolean;
  /** Some block was asked or is here already. */
  readonly open: boolean;
}

/** What the picker needs to know of a member. */
export interface MemberView {
  readonly origin: boolean;
  readonly onParole: boolean;
  /** Whether it has the piece and is willing to give it. */
  offers(piece: number): boolean;
}

export interface PickState<M extends MemberView> {
  readonly pieces: number;
  /** Undefined for a held piece. */
  piece(index: number): PieceView | undefined;
  /** First and last piece that a client waits for. */
  readonly window: { readonly from: number; readonly to: number } | undefined;
  readonly open: Iterable<number>;
  /** Whether another piece may be opened. */
  readonly mayOpen: boolean;
  /** How many connected members that are no origin offer this piece. */
  othersWith(piece: number): number;
  readonly originUse: OriginUse;
  /** The only member that this piece may be asked of. */
  reservedFor(piece: number): M | undefined;
}

/** The next piece to ask this member for, or undefined. `tried` is left out. */
export function pick<M extends MemberView>(
  state: PickState<M>,
  member: M,
  tried: ReadonlySet<number>,
  random: () => number = Math.random,
): number | undefined {
  if (member.origin && state.originUse === 'none') return undefined;

  const allowed = (index: number): PieceView | undefined => {
    if (tried.has(index) || !member.offers(index)) return undefined;
    const piece = state.piece(index);
    if (!piece?.free) return undefined;
    if (member.origin && state.originUse === 'missing' && state.othersWith(index) > 0) return undefined;
    const reserved = state.reservedFor(index);
    if (reserved !== undefined && reserved !== member) return undefined;
    if (member.onParole && piece.open && reserved !== member) return undefined;
    return piece;
  };

  if (state.window) {
    for (let index = state.window.from; index <= state.window.to; index++) {
      const piece = allowed(index);
      if (piece && (piece.open || state.mayOpen)) return index;
    }
  }
  for (const index of state.open) {
    if (allowed(index)) return index;
  }
  return state.mayOpen ? rarest(state, allowed, random) : undefined;
}

function rarest<M extends MemberView>(
  state: PickState<M>,
  allowed: (index: number) => PieceView | undefined,
  random: () => number,
): number | undefined {
  let best: number | undefined;
  let bestCount = Number.POSITIVE_INFINITY;
  let equals = 0;
  for (let index = 0; index < state.pieces; index++) {
    const count = state.othersWith(index);
    if (count > bestCount || !allowed(index)) continue;
    if (count < bestCount) {
      best = index;
      bestCount = count;
      equals = 1;
    } else if (random() * ++equals < 1) {
      best = index;
    }
  }
  return best;
}
