/**
 * The picker's decisions. A pick goes through these in order, until it has enough blocks:
 * 1. open pieces that this peer has and that nobody else is busy with: bonded to it, its own, left by others
 * 2. open pieces of the window, whoever is busy with them: a client waits
 * 3. a candidate of the window, random with a lean to the front
 * 4. the rarest candidate, random among equals (by the rules of the zone, see gateway.ts)
 * 5. open pieces that others are busy with
 * 6. in endgame, when all missing blocks are asked: blocks whose peer will be much later than this one
 * Never: a block of a piece that the peer has not, a block that is here, a block asked of another
 * peer (but 6), a block of a piece bonded to another peer, more open pieces than the limit.
 */
import type { Block, Picker, PickerOptions, PickerPeer, PickLimits } from './contract.ts';
import { createOpenPieces, FREE, type OpenPiece, RECEIVED } from './open-pieces.ts';
import { createPieces, type PeerState } from './pieces.ts';

const BLOCK_BYTES = 16_384;

/** Of a window, so many places are tried at random before it is searched from the front. */
const WINDOW_TRIES = 8;

/** A window's search goes no further than this. */
const WINDOW_SEARCH = 256;

/** In endgame a block is asked again when its peer needs this many times as long as the new one. */
const LATE_FACTOR = 2;

/** Peers that may be asked for one block. */
const MAX_ASKED = 2;

interface Pick<P> {
  readonly state: PeerState<P>;
  readonly most: number;
  readonly maxOpenPieces: number;
  readonly free: boolean;
  readonly blocks: Block[];
}

/** A picker for one blob. */
export function createPicker<P>(options: PickerOptions): Picker<P> {
  const { pieceCount, pieceSize } = options;
  const blockBytes = options.blockBytes ?? BLOCK_BYTES;
  const random = options.random ?? Math.random;
  const peers = new Map<P, PeerState<P>>();
  const pieces = createPieces<P>({ pieceCount, held: options.held, name: options.name, random });
  const open = createOpenPieces<PeerState<P>>();
  let missing = pieces.candidates;
  let windowFrom = 0;
  let windowTo = -1;

  const inWindow = (piece: number): boolean => piece >= windowFrom && piece <= windowTo;

  function take(pick: Pick<P>, piece: OpenPiece<PeerState<P>>, block: number): void {
    open.ask(piece, block, pick.state);
    piece.claimant = pick.state;
    const offset = block * blockBytes;
    const length = Math.min(blockBytes, pieceSize(piece.piece) - offset);
    pick.blocks.push({ piece: piece.piece, offset, length });
  }

  /** Takes free blocks of one piece, in order. */
  function takeFree(pick: Pick<P>, piece: OpenPiece<PeerState<P>>): void {
    if (piece.free === 0) return;
    for (let block = 0; block < piece.status.length && pick.blocks.length < pick.most; block++) {
      if (piece.status[block] === FREE) take(pick, piece, block);
    }
  }

  function canGive({ state, free }: Pick<P>, piece: OpenPiece<PeerState<P>>): boolean {
    if (piece.bond !== undefined) return piece.bond === state;
    return pieces.has(state, piece.piece) && pieces.may(state, piece.piece, free);
  }

  /** Steps 1 and 2, or step 5 (`claimed`). */
  function takeOpen(pick: Pick<P>, claimed: boolean): void {
    if (open.free === 0) return;
    for (const piece of open.partial()) {
      if (pick.blocks.length >= pick.most) return;
      if (!canGive(pick, piece)) continue;
      const { claimant } = piece;
      const ours = claimant === undefined || claimant === pick.state || inWindow(piece.piece);
      if (ours || claimed) takeFree(pick, piece);
    }
  }

  /** Step 3. */
  function windowCandidate(pick: Pick<P>): number | undefined {
    while (windowFrom <= windowTo && !pieces.isWanted(windowFrom)) windowFrom++;
    const length = windowTo - windowFrom + 1;
    if (length <= 0) return undefined;
    const fits = (piece: number): boolean =>
      pieces.isCandidate(piece) && pieces.has(pick.state, piece) && pieces.may(pick.state, piece, pick.free);
    for (let attempt = 0; attempt < WINDOW_TRIES; attempt++) {
      const lean = random();
      const piece = windowFrom + Math.floor(lean * lean * length);
      if (fits(piece)) return piece;
    }
    const last = Math.min(windowTo, windowFrom + WINDOW_SEARCH);
    for (let piece = windowFrom; piece <= last; piece++) if (fits(piece)) return piece;
    return undefined;
  }

  /** Steps 3 and 4. */
  function takeNew(pick: Pick<P>): void {
    while (pick.blocks.length < pick.most && pieces.candidatesOf(pick.state) > 0) {
      if (open.size >= pick.maxOpenPieces && !dropOrphan()) return;
      const piece = windowCandidate(pick) ?? pieces.rarest(pick.state, pick.free);
      if (piece === undefined) return;
      pieces.begin(piece, true);
      takeFree(pick, open.open(piece, Math.ceil(pieceSize(piece) / blockBytes)));
    }
  }

  /** An open piece that no peer has keeps memory from those that could go on: it is given up. */
  function dropOrphan(): boolean {
    for (const piece of open.all()) {
      if (piece.verifying || pieces.availability(piece.piece) > 0) continue;
      close(piece.piece);
      return true;
    }
    return false;
  }

  function close(piece: number): void {
    open.close(piece);
    pieces.begin(piece, false);
    options.dropped?.(piece);
  }

  function isEndgame(): boolean {
    return missing > 0 && pieces.candidates === 0 && open.free === 0;
  }

  /** Step 6. */
  function takeAgain(pick: Pick<P>): void {
    for (const piece of open.all()) {
      if (piece.missing === 0 || piece.bond !== undefined || !canGive(pick, piece)) continue;
      for (let block = 0; block < piece.status.length; block++) {
        if (pick.blocks.length >= pick.most) return;
        if (piece.status[block] !== RECEIVED && isLate(pick, piece, block)) take(pick, piece, block);
      }
    }
  }

  function isLate(pick: Pick<P>, piece: OpenPiece<PeerState<P>>, block: number): boolean {
    const { state } = pick;
    const owner = piece.first[block];
    const others = piece.also.get(block);
    if (owner === undefined || owner === state || others?.includes(state)) return false;
    if (1 + (others?.length ?? 0) >= MAX_ASKED) return false;
    // A peer of unknown pace is asked for one thing first.
    if (state.bytesPerSecond <= 0) return state.outstanding === 0;
    if (owner.bytesPerSecond <= 0) return true;
    const ours = (state.outstanding + 1) / state.bytesPerSecond;
    return owner.outstanding / owner.bytesPerSecond > ours * LATE_FACTOR;
  }

  function releaseBlock(state: PeerState<P>, piece: OpenPiece<PeerState<P>>, block: number): void {
    open.release(piece, block, state);
    // Whoever will not send all of it alone is not waited for.
    if (piece.bond === state) piece.bond = undefined;
    closeIfUntouched(piece);
  }

  /** A piece of which nothing is here and nothing asked is a candidate again. */
  function closeIfUntouched(piece: OpenPiece<PeerState<P>>): void {
    if (piece.free === piece.status.length && piece.bond === undefined) close(piece.piece);
  }

  function stateOf(peer: P): PeerState<P> {
    const state = peers.get(peer);
    if (state === undefined) throw new Error('the picker does not know this peer');
    return state;
  }

  function pick(peer: P, maxBlocks: number, limits: PickLimits = {}): Block[] {
    const state = peers.get(peer);
    if (state === undefined || maxBlocks <= 0 || pieces.wantedOf(state) === 0) return [];
    const now = limits.now ?? 0;
    const free = state.about.far !== true || pieces.gateway === undefined || pieces.gateway.hungry(now);
    const turn: Pick<P> = {
      state,
      most: maxBlocks,
      maxOpenPieces: limits.maxOpenPieces ?? Number.POSITIVE_INFINITY,
      free,
      blocks: [],
    };
    takeOpen(turn, false);
    takeNew(turn);
    if (turn.blocks.length < maxBlocks) takeOpen(turn, true);
    if (turn.blocks.length === 0 && limits.endgame !== false && isEndgame()) takeAgain(turn);
    return turn.blocks;
  }

  return {
    get missing() {
      return missing;
    },
    get openPieces() {
      return open.size;
    },
    get endgame() {
      return isEndgame();
    },
    join(peer: P, about: PickerPeer = {}) {
      if (!peers.has(peer)) peers.set(peer, pieces.join(peer, about));
    },
    leave(peer) {
      const state = peers.get(peer);
      if (state === undefined) return;
      peers.delete(peer);
      for (const number of [...state.pieces.keys()]) {
        const piece = open.get(number);
        if (piece === undefined) continue;
        for (let block = 0; block < piece.status.length; block++) open.release(piece, block, state);
      }
      for (const piece of [...open.all()]) {
        if (piece.bond === state) piece.bond = undefined;
        closeIfUntouched(piece);
      }
      pieces.leave(state);
    },
    have: (peer, piece) => pieces.have(stateOf(peer), piece),
    haveAll: (peer) => pieces.haveAll(stateOf(peer)),
    bitfield(peer, bits) {
      const state = stateOf(peer);
      for (let piece = 0; piece < pieceCount; piece++) {
        if (((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0) pieces.have(state, piece);
      }
    },
    pace(peer, bytesPerSecond) {
      const state = peers.get(peer);
      if (state !== undefined) state.bytesPerSecond = bytesPerSecond;
    },
    count(peer) {
      const state = peers.get(peer);
      return state === undefined ? 0 : pieces.count(state);
    },
    has(peer, piece) {
      const state = peers.get(peer);
      return state !== undefined && pieces.has(state, piece);
    },
    wants(peer) {
      const state = peers.get(peer);
      return state !== undefined && pieces.wantedOf(state) > 0;
    },
    holders: (piece) =>
      pieces.everyone.filter((state) => pieces.has(state, piece)).map((state) => state.peer),
    availability: (piece) => pieces.availability(piece),
    unavailable: () => pieces.unavailable,
    outstanding: (peer) => peers.get(peer)?.outstanding ?? 0,
    pick,
    released(peer, number, offset) {
      const state = peers.get(peer);
      const piece = open.get(number);
      if (state !== undefined && piece !== undefined) releaseBlock(state, piece, offset / blockBytes);
    },
    received(peer, number, offset) {
      const piece = open.get(number);
      const block = offset / blockBytes;
      if (piece === undefined || piece.status[block] === undefined) return [];
      if (piece.status[block] !== RECEIVED) pieces.gateway?.progress(blockBytes);
      return open
        .receive(piece, block)
        .map((state) => state.peer)
        .filter((other) => other !== peer);
    },
    verifying(number) {
      const piece = open.get(number);
      if (piece !== undefined) piece.verifying = true;
    },
    verified(number) {
      if (!pieces.isWanted(number)) return [];
      const piece = open.get(number);
      const asked = piece === undefined ? [] : [...open.reset(piece)].map((state) => state.peer);
      open.close(number);
      pieces.begin(number, true);
      pieces.settle(number);
      missing--;
      return asked;
    },
    failed(number, only) {
      if (!pieces.isWanted(number)) return;
      pieces.begin(number, true);
      const piece = open.get(number) ?? open.open(number, Math.ceil(pieceSize(number) / blockBytes));
      open.reset(piece);
      piece.verifying = false;
      const alone = only === undefined ? undefined : peers.get(only);
      piece.bond = alone !== undefined && pieces.has(alone, number) ? alone : undefined;
      closeIfUntouched(piece);
    },
    window(from, to) {
      windowFrom = Math.max(0, from);
      windowTo = Math.min(pieceCount - 1, to);
    },
  };
}
