/**
 * The pieces in progress of one blob: their buffers, who wrote which block, and which block is
 * being written now. A buffer's bytes change only while its piece is open and only by the one
 * writer of a block, so what was verified is what is stored. Buffers are reused; their number is
 * bounded for all blobs together.
 */
import { BLOCK_BYTES } from '../wire/index.ts';

/** Who sent a block: enough to name and ban it after it has gone. */
export interface Sender {
  readonly peerId: string;
  readonly label: string;
  readonly host: string;
}

/** Somebody whose bytes are on their way into a block; `dropBlock` makes it stop writing. */
export interface Writer {
  dropBlock(): void;
}

export interface OpenPiece {
  readonly piece: number;
  /** The piece's bytes, as far as they have come. Shared memory, so that a thread can hash them where they are. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** By block: who sent it, once it is whole. */
  readonly senders: (Sender | undefined)[];
  /** Blocks that are missing. */
  readonly missing: number;
  /** Begins a block: true when its bytes may be written, false when it is here already. A slower writer of the same block is dropped. */
  begin(offset: number, writer: Writer): boolean;
  /** A block is whole; false when it was whole before. */
  finish(offset: number, sender: Sender): boolean;
  /** A writer has gone: its block is free again. */
  abandon(writer: Writer): void;
  has(offset: number): boolean;
  /** Every block is here: a thread reads the buffer now, and the store will. */
  seal(): void;
  readonly sealed: boolean;
  /** Nobody writes into it any more: its buffer gets another use. */
  release(): void;
}

/** Memory of the pieces in progress, over all blobs. */
export interface PieceMemory {
  /** A buffer, or undefined when the bound is reached; `guaranteed` succeeds beyond it (a blob's first pieces, so that none starves). */
  take(bytes: number, guaranteed: boolean): SharedArrayBuffer | undefined;
  /** Gives a buffer back for others. Until it gets another use its bytes stay: `reused` is called when they go. */
  give(buffer: SharedArrayBuffer, reused?: () => void): void;
  /** The buffer counts no more and gets no other use: somebody may still be reading it. */
  drop(buffer: SharedArrayBuffer): void;
  /** Room that is left, in bytes. */
  readonly left: number;
}

/**
 * Unused buffers that are kept for the next pieces: new memory costs a page fault each 4 KiB. The one that
 * was given back first is used first, and none while there are few, so that the pieces which came last can be sent
 * on without reading the disk.
 */
const SPARE_BYTES = 32 * 1024 * 1024;

interface Spare {
  readonly buffer: SharedArrayBuffer;
  readonly reused: (() => void) | undefined;
}

export function createPieceMemory(maxBytes: number): PieceMemory {
  const spare = new Map<number, Spare[]>();
  let spareBytes = 0;
  let taken = 0;

  function free(bytes: number): void {
    taken -= bytes;
    if (taken > 0) return;
    // Nothing is downloaded: an idle agent keeps no buffers.
    for (const list of spare.values()) for (const { reused } of list) reused?.();
    spare.clear();
    spareBytes = 0;
  }

  return {
    get left() {
      return Math.max(0, maxBytes - taken);
    },
    take(bytes, guaranteed) {
      if (!guaranteed && taken + bytes > maxBytes) return undefined;
      taken += bytes;
      const oldest = taken + spareBytes <= SPARE_BYTES ? undefined : spare.get(bytes)?.shift();
      if (oldest === undefined) return new SharedArrayBuffer(bytes);
      spareBytes -= bytes;
      oldest.reused?.();
      return oldest.buffer;
    },
    give(buffer, reused) {
      const bytes = buffer.byteLength;
      free(bytes);
      if (taken === 0 || spareBytes + bytes > SPARE_BYTES) {
        reused?.();
        return;
      }
      const list = spare.get(bytes) ?? [];
      spare.set(bytes, list);
      list.push({ buffer, reused });
      spareBytes += bytes;
    },
    drop: (buffer) => free(buffer.byteLength),
  };
}

/** Every blob may have this many pieces in progress, whatever the others use. */
const GUARANTEED_PIECES = 2;

/**
 * What became of a sealed piece's buffer: `stored` is good, and can be sent on until the buffer gets another
 * use; `at rest` is bad, but nobody reads it any more; `in use` may still be hashed or stored, and its buffer is not used again.
 */
export type Fate = 'stored' | 'at rest' | 'in use';

export interface Pieces {
  /** Pieces that are open, being verified or being written. */
  readonly open: number;
  /** Pieces that may be open at once, as of now. */
  readonly limit: number;
  get(piece: number): OpenPiece | undefined;
  /** The open piece, opened now when it was not; undefined when there is no memory. */
  ensure(piece: number): OpenPiece | undefined;
  /** Done with it, whatever came of it: its memory is free. */
  close(piece: number, fate?: Fate): void;
  /**
   * Memory to receive a whole piece in from elsewhere; undefined when there is none to spare. It goes back by
   * `keepRecent` or `giveBack`.
   */
  lend(piece: number): Uint8Array<SharedArrayBuffer> | undefined;
  isLent(bytes: Uint8Array): bytes is Uint8Array<SharedArrayBuffer>;
  /** Lent memory that nobody reads or writes any more is free; of any other nothing is done. */
  giveBack(bytes: Uint8Array): void;
  /** This piece was stored from lent memory: it can be sent on until that gets another use. */
  keepRecent(piece: number, bytes: Uint8Array): void;
  /** Fills `into` from `position` of the blob with bytes of stored pieces that are still in memory; false when they are not. */
  recall(position: number, into: Uint8Array): boolean;
  /** A peer has gone. */
  abandon(writer: Writer): void;
  clear(): void;
}

function createOpenPiece(piece: number, bytes: Uint8Array<SharedArrayBuffer>): OpenPiece {
  const blocks = Math.ceil(bytes.length / BLOCK_BYTES);
  const senders: (Sender | undefined)[] = new Array(blocks).fill(undefined);
  const writers: (Writer | undefined)[] = new Array(blocks).fill(undefined);
  let missing = blocks;
  let sealed = false;
  return {
    piece,
    bytes,
    senders,
    get missing() {
      return missing;
    },
    begin(offset, writer) {
      const block = offset / BLOCK_BYTES;
      if (senders[block] !== undefined) return false;
      const earlier = writers[block];
      if (earlier !== undefined && earlier !== writer) earlier.dropBlock();
      writers[block] = writer;
      return true;
    },
    finish(offset, sender) {
      const block = offset / BLOCK_BYTES;
      writers[block] = undefined;
      if (senders[block] !== undefined) return false;
      senders[block] = sender;
      missing--;
      return true;
    },
    abandon(writer) {
      for (let block = 0; block < blocks; block++) {
        if (writers[block] === writer) writers[block] = undefined;
      }
    },
    has: (offset) => senders[offset / BLOCK_BYTES] !== undefined,
    seal() {
      sealed = true;
    },
    get sealed() {
      return sealed;
    },
    release() {
      for (const writer of writers) writer?.dropBlock();
    },
  };
}

/** The pieces in progress of one blob. */
export function createPieces(options: {
  readonly pieceLength: number;
  readonly pieceSize: (piece: number) => number;
  readonly memory: PieceMemory;
}): Pieces {
  const { pieceLength, memory } = options;
  const open = new Map<number, OpenPiece>();

  const lent = new Set<Uint8Array>();

  /** Pieces that were stored and whose buffers have had no other use yet. */
  const recent = new Map<number, Uint8Array>();

  function remember(piece: number, bytes: Uint8Array<SharedArrayBuffer>): void {
    recent.set(piece, bytes);
    memory.give(bytes.buffer, () => recent.delete(piece));
  }

  const isLent = (bytes: Uint8Array): bytes is Uint8Array<SharedArrayBuffer> => lent.has(bytes);

  function close(piece: number, fate: Fate = 'in use'): void {
    const closing = open.get(piece);
    if (closing === undefined) return;
    const { bytes } = closing;
    closing.release();
    open.delete(piece);
    if (fate === 'stored') remember(piece, bytes);
    else if (closing.sealed && fate === 'in use') memory.drop(bytes.buffer);
    else memory.give(bytes.buffer);
  }

  function recall(position: number, into: Uint8Array): boolean {
    const first = Math.floor(position / pieceLength);
    const last = Math.floor((position + into.length - 1) / pieceLength);
    for (let piece = first; piece <= last; piece++) if (!recent.has(piece)) return false;
    for (let piece = first; piece <= last; piece++) {
      const from = piece * pieceLength - position;
      const bytes = recent.get(piece);
      if (bytes === undefined) return false;
      into.set(bytes.subarray(Math.max(0, -from), into.length - from), Math.max(0, from));
    }
    return true;
  }

  return {
    get open() {
      return open.size;
    },
    get limit() {
      return Math.max(GUARANTEED_PIECES, open.size + Math.floor(memory.left / pieceLength));
    },
    get: (piece) => open.get(piece),
    ensure(piece) {
      const known = open.get(piece);
      if (known !== undefined) return known;
      const buffer = memory.take(pieceLength, open.size < GUARANTEED_PIECES);
      if (buffer === undefined) return undefined;
      const created = createOpenPiece(piece, new Uint8Array(buffer, 0, options.pieceSize(piece)));
      open.set(piece, created);
      return created;
    },
    close,
    lend(piece) {
      const buffer = memory.take(pieceLength, lent.size < GUARANTEED_PIECES);
      if (buffer === undefined) return undefined;
      const bytes = new Uint8Array(buffer, 0, options.pieceSize(piece));
      lent.add(bytes);
      return bytes;
    },
    isLent,
    giveBack(bytes) {
      if (!isLent(bytes)) return;
      lent.delete(bytes);
      memory.give(bytes.buffer);
    },
    keepRecent(piece, bytes) {
      if (!isLent(bytes)) return;
      lent.delete(bytes);
      remember(piece, bytes);
    },
    recall,
    abandon(writer) {
      for (const piece of open.values()) piece.abandon(writer);
    },
    clear() {
      for (const piece of [...open.keys()]) close(piece);
      // Who receives or hashes there does not know yet.
      for (const bytes of lent) if (isLent(bytes)) memory.drop(bytes.buffer);
      lent.clear();
    },
  };
}
