/**
 * When a download takes ranges from the origin over HTTP, and which. Pure: state in, decision out.
 *
 * The origin is asked while
 * - no piece came over the swarm for `stallMs`, or for `firstPieceMs` when nobody but the origin is
 *   known and no piece ever came. While blocks flow at `minRateBytesPerSecond` a piece has three
 *   times `stallMs`: ranges that overtake the pieces on their way would look like a stall for ever. The first
 *   piece has two times `stallMs` while blocks flow at whatever pace: pipelines fill first; or
 * - a client waits and the swarm brings less than `minRateBytesPerSecond`; or
 * - a client has waited for one piece three to six times `stallMs`, however well the others flow: each download
 *   draws its own `waitPatienceMs`, because agents that wait for the same piece began at the same time, and
 *   who asks first passes it on to the others.
 * The swarm is healthy again when none of these holds; then the origin is left alone. A run is one piece at first and
 * twice as long each time that the swarm has brought nothing meanwhile (`nextWidth`): in a rollout all agents are slow at the
 * same time, and long runs take the origin's uplink away from the pieces that the swarm waits for.
 *
 * Beside this, while discovery has named nobody and nobody has come, the blob is read from the origin over HTTP as
 * a client without an agent would (`readsAlone`): nothing is won by a swarm of one and its seed, and a stream costs
 * less time and processor than requests for blocks. As soon as somebody else is there the swarm takes over.
 *
 * The download is given up when
 * - nothing came from anywhere for `progressDeadlineMs`; or
 * - nobody is connected, the origin cannot be reached, and nothing came for three times `stallMs`.
 */

export interface FallbackLimits {
  readonly stallMs: number;
  readonly firstPieceMs: number;
  readonly minRateBytesPerSecond: number;
  readonly progressDeadlineMs: number;
}

export const DEFAULT_LIMITS: FallbackLimits = {
  stallMs: 2_000,
  firstPieceMs: 600,
  minRateBytesPerSecond: 256 * 1024,
  progressDeadlineMs: 30_000,
};

/** All times are milliseconds that have passed. */
export interface Progress {
  /** Since a piece came over the swarm, or since the start when none did. */
  readonly sinceSwarmPieceMs: number;
  readonly swarmBroughtPieces: boolean;
  /** Since a block came over the swarm, or since the start when none did. */
  readonly sinceSwarmByteMs: number;
  /** Since any payload byte, from anywhere. */
  readonly sinceAnyByteMs: number;
  /** The longest wait of a client for the piece that it needs next; undefined when none waits. */
  readonly longestWaitMs: number | undefined;
  readonly swarmBytesPerSecond: number;
  /** Members that discovery named, without the origin. */
  readonly knownPeers: number;
  readonly connectedPeers: number;
  /** The last attempt to read from the origin failed. */
  readonly originFailed: boolean;
}

/** For how long a client waits for one piece of a swarm that flows. */
export function waitPatienceMs(limits: FallbackLimits, random: () => number = Math.random): number {
  return limits.stallMs * (3 + 3 * random());
}

export function decide(
  progress: Progress,
  limits: FallbackLimits,
  waitMs = waitPatienceMs(limits, () => 0),
): 'swarm' | 'origin' | 'give up' {
  const { sinceAnyByteMs, longestWaitMs } = progress;
  if (sinceAnyByteMs >= limits.progressDeadlineMs) return 'give up';
  const alone = progress.connectedPeers === 0 && progress.originFailed;
  if (alone && sinceAnyByteMs >= 3 * limits.stallMs) return 'give up';

  const nobodyKnown = !progress.swarmBroughtPieces && progress.knownPeers === 0;
  const patienceMs = nobodyKnown ? Math.min(limits.firstPieceMs, limits.stallMs) : limits.stallMs;
  const fast = progress.swarmBytesPerSecond >= limits.minRateBytesPerSecond;
  const begins = !progress.swarmBroughtPieces && progress.sinceSwarmPieceMs < 2 * limits.stallMs;
  const flows = progress.sinceSwarmByteMs < patienceMs / 2 && (fast || begins);
  if (progress.sinceSwarmPieceMs >= (flows ? 3 * limits.stallMs : patienceMs)) return 'origin';
  if (longestWaitMs === undefined) return 'swarm';
  if (longestWaitMs >= limits.stallMs && !fast && !flows) return 'origin';
  return longestWaitMs >= waitMs ? 'origin' : 'swarm';
}

/** Whether the blob is read from the origin over HTTP, one run after the other, because nobody else is there. */
export function readsAlone(state: {
  /** Discovery has answered. */
  readonly discovered: boolean;
  readonly knownPeers: number;
  /** Whoever is connected and is not the origin. */
  readonly connectedAgents: number;
  readonly originFailed: boolean;
}): boolean {
  return state.discovered && state.knownPeers === 0 && state.connectedAgents === 0 && !state.originFailed;
}

/** Pieces of the next run: `before` is the width of the last one, 0 when the swarm has brought a piece since. */
export function nextWidth(before: number, most: number): number {
  return Math.max(1, Math.min(most, before * 2));
}

/** Adjacent pieces, both ends included. */
export interface PieceRun {
  readonly first: number;
  readonly last: number;
}

/**
 * The next run of missing pieces: from the first missing one that a client needs (`wanted`, the
 * most urgent position first), else from the first missing one; undefined when none is missing.
 */
export function nextRun(options: {
  readonly has: (piece: number) => boolean;
  readonly pieces: number;
  readonly wanted: readonly number[];
  readonly maxPieces: number;
}): PieceRun | undefined {
  const { has, pieces } = options;
  for (const from of [...options.wanted, 0]) {
    let first = from;
    while (first < pieces && has(first)) first += 1;
    if (first >= pieces) continue;
    let last = first;
    while (last + 1 < pieces && last - first + 1 < options.maxPieces && !has(last + 1)) last += 1;
    return { first, last };
  }
  return undefined;
}

/**
 * Whether a stream of pieces that goes on at `next` serves every client that waits: the piece that each needs
 * comes within `ahead` pieces.
 */
export function servesWaiting(positions: readonly ReadPosition[], next: number, ahead: number): boolean {
  return positions.every(
    ({ piece, waitingSince }) => waitingSince === undefined || (piece >= next && piece < next + ahead),
  );
}

/** Where a client reads, and since when it has waited there. */
export interface ReadPosition {
  readonly piece: number;
  readonly waitingSince: number | undefined;
}

/** Positions in the order of urgency: who waits longest first, then who does not wait. */
export function byUrgency(positions: Iterable<ReadPosition>): ReadPosition[] {
  return [...positions].sort(
    (a, b) =>
      (a.waitingSince ?? Number.POSITIVE_INFINITY) - (b.waitingSince ?? Number.POSITIVE_INFINITY) ||
      a.piece - b.piece,
  );
}

/**
 * The one window that the swarm fetches first: `width` pieces from the most urgent reader's first
 * missing piece, widened over readers whose own windows touch it.
 */
export function mergedWindow(
  urgent: readonly ReadPosition[],
  options: { readonly has: (piece: number) => boolean; readonly pieces: number; readonly width: number },
): PieceRun | undefined {
  const { pieces, width } = options;
  const windows: PieceRun[] = [];
  for (const { piece } of urgent) {
    let first = piece;
    while (first < pieces && options.has(first)) first += 1;
    if (first < pieces) windows.push({ first, last: Math.min(first + width, pieces) - 1 });
  }
  let [merged] = windows;
  if (!merged) return undefined;
  for (const window of windows) {
    const touches = window.first <= merged.last + 1 && window.last >= merged.first - 1;
    if (!touches) continue;
    merged = { first: Math.min(merged.first, window.first), last: Math.max(merged.last, window.last) };
  }
  return merged;
}
