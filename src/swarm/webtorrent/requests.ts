/**
 * Asks the members of a download for blocks: feeds the picker with the state of the torrent, and
 * gives blocks that a member does not deliver to others.
 */
import type { Torrent, Wire, WireRequest } from 'webtorrent';
import { type Metainfo, pieceCount } from '#torrent';
import type { Connection } from './connection.ts';
import type { OriginUse } from './origin-use.ts';
import { type PickState, pick } from './picker.ts';
import type { Verdicts } from './verdicts.ts';
import { BLOCK_BYTES } from './wire-guard.ts';

/** Bytes of pieces that are open, or being written, at once. */
const MAX_OPEN_BYTES = 48 * 1024 * 1024;
/** A member that answers nothing for this long loses its requests to others. */
const STALLED_MS = 1_500;
/** A slow one is given the time of so many blocks at its measured speed, within this bound. */
const STALLED_BLOCKS = 4;
const LONGEST_STALL_MS = 8_000;
/** At the end a block is asked twice when its member is so many times slower than an idle one. */
const SLOWER = 3;

export interface Requests {
  /** Pieces that a client waits for, in this order, before all others. */
  window: { readonly from: number; readonly to: number } | undefined;
  originUse: OriginUse;
  /** How many members that are no origin offer a piece. */
  othersWith(piece: number): number;
  /** How many members offer a piece. */
  everyoneWith(piece: number): number;
  offered(connection: Connection, piece: number, change: 1 | -1): void;
  /** Fills the pipeline of this wire. */
  ask(connection: Connection): void;
  /** The piece is held, or has to be begun again. */
  ended(piece: number): void;
  /** Gives away what stalled members were asked for. */
  releaseStalled(connections: Iterable<Connection>, now: number): void;
  /** Begins an open piece again: its blocks are thrown away. */
  restart(piece: number): void;
  /** Tells members that a piece is not wanted any more. */
  cancel(piece: number, connections: Iterable<Connection>): void;
}

export function createRequests(options: {
  readonly metainfo: Metainfo;
  readonly torrent: () => Torrent;
  readonly connections: () => Iterable<Connection>;
  readonly verdicts: Verdicts;
  readonly pendingWrites: () => number;
}): Requests {
  const { metainfo, verdicts } = options;
  const pieces = pieceCount(metainfo);
  const maxOpen = Math.max(4, Math.floor(MAX_OPEN_BYTES / metainfo.pieceLength));
  const open = new Set<number>();
  const others = new Uint16Array(pieces);
  const origins = new Uint16Array(pieces);
  /** Requests whose block was made free for another member as well. */
  const givenAway = new WeakSet<WireRequest>();

  const mayOpen = (): boolean => open.size + options.pendingWrites() < maxOpen;

  const state: PickState<Connection> = {
    pieces,
    piece: (index) => {
      const piece = options.torrent().pieces[index];
      if (!piece) return undefined;
      const free =
        !piece._flushed && ((piece._cancellations?.length ?? 0) > 0 || piece._reservations < piece._chunks);
      return { free, open: open.has(index) };
    },
    get window() {
      return requests.window;
    },
    open,
    get mayOpen() {
      return mayOpen();
    },
    othersWith: (piece) => others[piece] ?? 0,
    get originUse() {
      return requests.originUse;
    },
    reservedFor: verdicts.reservedFor,
  };

  const giveAway = (request: WireRequest): void => {
    if (givenAway.has(request)) return;
    givenAway.add(request);
    const piece = options.torrent().pieces[request.piece];
    const block = Math.floor(request.offset / BLOCK_BYTES);
    if (piece && !piece._flushed && !piece._buffer?.[block]) piece.cancel(block);
  };

  const request = (connection: Connection, piece: number): boolean => {
    if (connection.wire.requests.length === 0) connection.waitingSince = performance.now();
    if (!options.torrent()._request(connection.wire, piece, false)) return false;
    open.add(piece);
    verdicts.asked(piece, connection);
    return true;
  };

  /** Everything is asked for: takes a block over from a member that is much slower. */
  const takeOver = (connection: Connection): boolean => {
    if (connection.onParole) return false;
    for (const other of options.connections()) {
      if (other === connection || other.speed() * SLOWER > connection.speed()) continue;
      for (const waiting of other.wire.requests) {
        if (givenAway.has(waiting) || !connection.offers(waiting.piece)) continue;
        if (verdicts.reservedFor(waiting.piece) !== undefined) continue;
        giveAway(waiting);
        if (request(connection, waiting.piece)) return true;
      }
    }
    return false;
  };

  const requests: Requests = {
    window: undefined,
    originUse: 'none',
    othersWith: (piece) => others[piece] ?? 0,
    everyoneWith: (piece) => (others[piece] ?? 0) + (origins[piece] ?? 0),
    offered: (connection, piece, change) => {
      const counts = connection.origin ? origins : others;
      counts[piece] = (counts[piece] ?? 0) + change;
    },
    ask: (connection) => {
      const { wire } = connection;
      if (connection.closed || connection.stalled || wire.peerChoking) return;
      // Half a pipeline may drain before the search for more begins.
      const room = pipelineBlocks(wire);
      if (wire.requests.length > room / 2) return;
      const tried = new Set<number>();
      while (wire.requests.length < room) {
        const piece = pick(state, connection, tried);
        if (piece === undefined) {
          const idle = wire.requests.length === 0 && (!connection.origin || requests.originUse === 'all');
          if (!idle || !takeOver(connection)) return;
          continue;
        }
        let asked = false;
        while (wire.requests.length < room && request(connection, piece)) asked = true;
        if (!asked) tried.add(piece);
      }
    },
    ended: (piece) => {
      open.delete(piece);
    },
    releaseStalled: (connections, now) => {
      const willing = [...connections].filter(
        (c) => !c.stalled && (!c.origin || requests.originUse !== 'none'),
      );
      for (const connection of connections) {
        const { requests: waiting } = connection.wire;
        if (waiting.length === 0 || now - connection.waitingSince < stalledAfter(connection)) continue;
        connection.stalled = true;
        for (const request of waiting) {
          // Without another taker the same member would be asked for the same block twice.
          if (willing.some((c) => c !== connection && c.offers(request.piece))) giveAway(request);
        }
      }
    },
    restart: (piece) => {
      const { pieces: assembling } = options.torrent();
      const current = assembling[piece];
      open.delete(piece);
      if (!current) return;
      // WebTorrent does the same when a hash is wrong; what is still on its way for the old one is ignored.
      assembling[piece] = Reflect.construct(current.constructor, [current.length]);
    },
    cancel: (piece, connections) => {
      for (const { wire } of connections) {
        for (const waiting of wire.requests.filter((r) => r.piece === piece)) {
          wire.cancel(waiting.piece, waiting.offset, waiting.length);
        }
      }
    },
  };
  return requests;
}

function stalledAfter(connection: Connection): number {
  const blockMs = (BLOCK_BYTES / Math.max(1, connection.speed())) * 1000;
  return Math.min(LONGEST_STALL_MS, Math.max(STALLED_MS, STALLED_BLOCKS * blockMs));
}

/** As WebTorrent computes it, from the speed that `connection.ts` keeps within bounds, and `reqq` (BEP 10). */
function pipelineBlocks(wire: Wire): number {
  const blocks = 2 + Math.ceil(wire.downloadSpeed() / BLOCK_BYTES);
  const reqq = wire.peerExtendedHandshake['reqq'];
  return typeof reqq === 'number' && reqq > 0 ? Math.min(blocks, reqq) : blocks;
}
