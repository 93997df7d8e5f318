/**
 * The pieces in progress, block by block: free, asked of one or more peers, or received. What a
 * peer is asked is counted per piece, so that a peer that leaves costs only what it was asked.
 */

export const FREE = 0;
const ASKED = 1;
export const RECEIVED = 2;

/** What a peer is asked. Part of the picker's state of the peer. */
export interface Asked {
  /** Blocks asked, in all. */
  outstanding: number;
  /** Open pieces of which blocks are asked, with their number. */
  readonly pieces: Map<number, number>;
}

export interface OpenPiece<S extends Asked> {
  readonly piece: number;
  readonly status: Uint8Array;
  /** Whom each block was asked of first, while it is. */
  readonly first: (S | undefined)[];
  /** Whom blocks were asked of besides, in endgame. */
  readonly also: Map<number, S[]>;
  free: number;
  missing: number;
  /** The peer that took the last block and is asked for some: the rest is left to it if possible. */
  claimant: S | undefined;
  /** The only peer that may send it. */
  bond: S | undefined;
  verifying: boolean;
}

export interface OpenPieces<S extends Asked> {
  readonly size: number;
  /** Blocks of all open pieces that nobody was asked for. */
  readonly free: number;
  get(piece: number): OpenPiece<S> | undefined;
  all(): Iterable<OpenPiece<S>>;
  /** Those with a free block. */
  partial(): Iterable<OpenPiece<S>>;
  open(piece: number, blocks: number): OpenPiece<S>;
  close(piece: number): void;
  ask(open: OpenPiece<S>, block: number, peer: S): void;
  /** The peer is not asked for the block any more. True when it was. */
  release(open: OpenPiece<S>, block: number, peer: S): boolean;
  /** The block is here. Returns everybody who was asked for it; none of them is any more. */
  receive(open: OpenPiece<S>, block: number): S[];
  /** All blocks are missing again; returns everybody who was asked for one. */
  reset(open: OpenPiece<S>): Set<S>;
}

export function createOpenPieces<S extends Asked>(): OpenPieces<S> {
  const opened = new Map<number, OpenPiece<S>>();
  const partial = new Set<OpenPiece<S>>();
  let free = 0;

  function freed(open: OpenPiece<S>, blocks: number): void {
    open.free += blocks;
    free += blocks;
    if (open.free > 0) partial.add(open);
    else partial.delete(open);
  }

  function unasked(open: OpenPiece<S>, peer: S): void {
    peer.outstanding--;
    const left = (peer.pieces.get(open.piece) ?? 1) - 1;
    if (left > 0) {
      peer.pieces.set(open.piece, left);
      return;
    }
    peer.pieces.delete(open.piece);
    if (open.claimant === peer) open.claimant = undefined;
  }

  function receive(open: OpenPiece<S>, block: number): S[] {
    if (open.status[block] === RECEIVED) return [];
    if (open.status[block] === FREE) freed(open, -1);
    open.status[block] = RECEIVED;
    open.missing--;
    const asked: S[] = [];
    const first = open.first[block];
    if (first !== undefined) asked.push(first);
    for (const other of open.also.get(block) ?? []) asked.push(other);
    open.first[block] = undefined;
    open.also.delete(block);
    for (const peer of asked) unasked(open, peer);
    return asked;
  }

  function reset(open: OpenPiece<S>): Set<S> {
    const asked = new Set<S>();
    for (let block = 0; block < open.status.length; block++) {
      if (open.status[block] !== RECEIVED) for (const peer of receive(open, block)) asked.add(peer);
    }
    open.status.fill(FREE);
    open.missing = open.status.length;
    freed(open, open.missing - open.free);
    open.claimant = undefined;
    return asked;
  }

  return {
    get size() {
      return opened.size;
    },
    get free() {
      return free;
    },
    get: (piece) => opened.get(piece),
    all: () => opened.values(),
    partial: () => partial,
    open(piece, blocks) {
      const open: OpenPiece<S> = {
        piece,
        status: new Uint8Array(blocks),
        first: new Array<S | undefined>(blocks).fill(undefined),
        also: new Map(),
        free: 0,
        missing: blocks,
        claimant: undefined,
        bond: undefined,
        verifying: false,
      };
      opened.set(piece, open);
      freed(open, blocks);
      return open;
    },
    close(piece) {
      const open = opened.get(piece);
      if (open === undefined) return;
      freed(open, -open.free);
      opened.delete(piece);
    },
    ask(open, block, peer) {
      if (open.status[block] === FREE) {
        open.status[block] = ASKED;
        open.first[block] = peer;
        freed(open, -1);
      } else {
        const others = open.also.get(block);
        if (others === undefined) open.also.set(block, [peer]);
        else others.push(peer);
      }
      peer.outstanding++;
      peer.pieces.set(open.piece, (peer.pieces.get(open.piece) ?? 0) + 1);
    },
    release(open, block, peer) {
      const others = open.also.get(block);
      if (open.first[block] === peer) {
        open.first[block] = others?.shift();
      } else {
        const at = others?.indexOf(peer) ?? -1;
        if (at < 0) return false;
        others?.splice(at, 1);
      }
      if (others?.length === 0) open.also.delete(block);
      unasked(open, peer);
      if (open.first[block] === undefined) {
        open.status[block] = FREE;
        freed(open, 1);
      }
      return true;
    },
    receive,
    reset,
  };
}
