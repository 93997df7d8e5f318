/** What the picker offers; the rules that a pick obeys are listed in picker.ts. */

/** A block to ask for: bytes [offset, offset + length) of a piece; `offset` is a multiple of the block size. */
export interface Block {
  readonly piece: number;
  readonly offset: number;
  readonly length: number;
}

/** What is known of a peer when it joins. */
export interface PickerPeer {
  /**
   * Outside our zone: reaching it costs a shared uplink. Pieces come from it once a zone (see
   * `gateway`), and freely only while the near peers leave us hungry. Default false.
   */
  readonly far?: boolean;
  /**
   * A name that every member knows it by (its peer id), for choosing who fetches a piece into the
   * zone. Needed for near peers when far ones exist; without it the peer is no candidate.
   */
  readonly name?: string;
  /** It shows distinct pieces to distinct peers (the origin): what it shows us is ours to fetch, far or not. */
  readonly superSeed?: boolean;
}

export interface PickerOptions {
  readonly pieceCount: number;
  /** Bytes of a piece. All are equal but the last. */
  readonly pieceSize: (piece: number) => number;
  /** Pieces that are verified and stored already. Asked once for each piece, at creation. */
  readonly held: (piece: number) => boolean;
  /** Bytes asked for at a time. Default 16 KiB; a simulation takes coarser ones. */
  readonly blockBytes?: number;
  /** In [0, 1). Default Math.random; a test gives its own, so that a run can be repeated. */
  readonly random?: () => number;
  /** Our own name among the members of our zone (our peer id). Without it there is no gateway rule. */
  readonly name?: string;
  /**
   * An open piece is a candidate again, its received blocks are forgotten: its buffer can be given
   * back. It happens when nothing of it is here and nothing asked, or when it is in the way of
   * others (open-piece limit) and no peer has it. Called during the picker's own calls.
   */
  readonly dropped?: (piece: number) => void;
}

/** What limits one pick. */
export interface PickLimits {
  /** Never begin a piece when so many are in progress (memory). Default unlimited. */
  readonly maxOpenPieces?: number;
  /** Milliseconds of any steady clock; used for hunger (far peers) and for endgame. Default 0. */
  readonly now?: number;
  /** False: no block that another peer was asked for already. Default true. */
  readonly endgame?: boolean;
}

/**
 * Which block to ask of which peer next, for one blob. Peers are named by any value (an object, a
 * number); the picker keeps nothing of a peer that left. It does no I/O and has no clock. Each
 * operation is O(1), or O(answer), or bounded by the number of peers or of blocks in one piece;
 * `join` and `leave` of a peer with a full bitfield are O(pieces).
 *
 * The life of a piece: missing → open (some block asked for) → verifying (all blocks here) →
 * verified; `failed` takes it back from verifying to open.
 */
export interface Picker<P> {
  /** Pieces that are not verified. */
  readonly missing: number;
  /** Pieces that are open or verifying: those that have a buffer. */
  readonly openPieces: number;
  /** True once every missing block has been asked of somebody. */
  readonly endgame: boolean;

  join(peer: P, about?: PickerPeer): void;
  /** Forgets the peer; what was asked of it can be picked again. */
  leave(peer: P): void;
  /** The peer has this piece. False when that was known. */
  have(peer: P, piece: number): boolean;
  /** The peer has every piece. */
  haveAll(peer: P): void;
  /** The peer's pieces as on the wire (BEP 3: high bit first), in addition to those known. `bits` is not kept. */
  bitfield(peer: P, bits: Uint8Array): void;
  /** Bytes per second that the peer delivers, as measured; tells in endgame whose blocks are late. Default unknown. */
  pace(peer: P, bytesPerSecond: number): void;

  /** How many pieces the peer has. */
  count(peer: P): number;
  has(peer: P, piece: number): boolean;
  /** Whether the peer has a piece that is not verified here: whether we are interested in it. */
  wants(peer: P): boolean;
  /** The peers that have this piece. O(peers). */
  holders(piece: number): P[];
  /** How many peers have this piece. */
  availability(piece: number): number;
  /** Missing pieces that no peer has. */
  unavailable(): number;
  /** Blocks that are asked of this peer. */
  outstanding(peer: P): number;

  /**
   * At most `maxBlocks` blocks to ask of this peer, adjacent ones together and in order; they count
   * as asked at once. Fewer, or none, when the peer has nothing to give now.
   */
  pick(peer: P, maxBlocks: number, limits?: PickLimits): Block[];
  /** This peer will not send this block (rejected, choked, given up as stalled): it can be picked again. */
  released(peer: P, piece: number, offset: number): void;
  /**
   * A block is here, from this peer, whether or not it was asked of it. Returns the other peers that
   * were asked for the same block, to be told to cancel; they count as released.
   */
  received(peer: P, piece: number, offset: number): P[];

  /** All blocks are here and the hash is being computed: nothing more is picked of it. */
  verifying(piece: number): void;
  /** Verified, by whatever source (peers, HTTP). Returns the peers with blocks of it still asked, to cancel them. */
  verified(piece: number): P[];
  /**
   * The hash was wrong: every block of the piece is missing again. With `only`, that one peer is to
   * send all of it (which shows who lied); the bond ends when the peer leaves or will
   * not send a block, or the piece fails again.
   */
  failed(piece: number, only?: P): void;

  /**
   * The pieces that a client waits for, first wanted first: `from` to `to` inclusive, replacing the
   * earlier window; `from` > `to` ends it. Open pieces of the window come first, then its pieces in
   * an order that is random but leans to the front, so that members who stream the same blob do not all ask for the same piece.
   */
  window(from: number, to: number): void;
}
