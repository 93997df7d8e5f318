/** How many blocks to keep asked of one peer. */

export interface PipelineInput {
  /** Bytes per second that the peer delivers, as measured; 0 when nothing was measured yet. */
  readonly bytesPerSecond: number;
  readonly blockBytes: number;
  readonly pieceBytes: number;
  /** Requests that the peer takes at once (BEP 10 `reqq`). */
  readonly requestQueue: number;
  /** It owes us blocks and sends none: it is only probed. */
  readonly stalled: boolean;
  /** Blocks asked of this peer. Default 0. */
  readonly outstanding?: number;
  /** Blocks asked of all peers, and bytes per second from all of them. */
  readonly totalOutstanding: number;
  readonly totalBytesPerSecond: number;
}

/** A peer's queue lasts this long at its pace: longer than any round trip, short enough to bind late. */
const PEER_SECONDS = 0.25;

/** All queues together last this long: what waits in one peer's queue cannot be had from another. */
const TOTAL_SECONDS = 1;

/** So many pieces may be asked for in any case: to find out who is fast, before a pace is measured. */
const MIN_PIECES = 8;

/** Blocks that may be asked of this peer at once, those asked already included. */
export function pipelineBlocks(input: PipelineInput): number {
  if (input.stalled) return 1;
  const { blockBytes } = input;
  const piece = Math.ceil(input.pieceBytes / blockBytes);
  const byPace = Math.ceil((input.bytesPerSecond * PEER_SECONDS) / blockBytes);
  const wanted = Math.max(byPace, piece);
  const total = Math.max(
    Math.ceil((input.totalBytesPerSecond * TOTAL_SECONDS) / blockBytes),
    piece * MIN_PIECES,
  );
  const left = Math.max(total - input.totalOutstanding + (input.outstanding ?? 0), 1);
  return Math.max(1, Math.min(wanted, left, input.requestQueue));
}
