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
  readonly size: number;
  /** The piece's bytes, as far as they have come; empty while its buffer is away to be hashed. */
  readonly bytes: Uint8Array;
  /** The buffer under the bytes, maybe longer. */
  buffer: ArrayBuffer;
  /** By block: who sent it, once it is whole. */
  readonly senders: (Sender | undefined)[];
  /** Blocks that are missing. */
  readonly missing: number;
  /** Begins a block: where its bytes go, or undefined when it is here already. A slower writer of the same block is dropped. */
  begin(offset: number, length: number, writer: Writer): Uint8Array | undefined;
  /** A block is whole; false when it was whole before. */
  finish(offset: number, sender: Sender): boolean;
  /** A writer has gone: its block is free again. */
  abandon(writer: Writer): void;
  has(offset: number): boolean;
  /** Nobody writes into it any more: its buffer gets another use. */
  release(): void;
}

/** Memory of the pieces in progress, over all blobs. */
export interface PieceMemory {
  /** Takes room for a piece; `guaranteed` succeeds beyond the bound (a blob's first pieces, so that none starves). */
  take(bytes: number, guaranteed: boolean): boolean;
  give(bytes: number): void;
  /** Room that is left, in bytes. */
  readonly left: number;
}

export function createPieceMemory(maxBytes: number): PieceMemory {
  let taken = 0;
  return {
    get left() {
      return Math.max(0, maxBytes - taken);
    },
    take(bytes, guaranteed) {
      if (!guaranteed && taken + bytes > maxBytes) return false;
      taken += bytes;
      return true;
    },
    give(bytes) {
      taken -= bytes;
    },
  };
}

/** Every blob may have this many pieces in progress, whatever the others use. */
const GUARANTEED_PIECES = 2;

/** Unused buffers that a blob keeps for its next pieces, in bytes: new memory costs a page fault each 4 KiB. */
const SPARE_BYTES = 16 * 1024 * 1024;

export interface Pieces {
  /** Pieces that are open, being verified or being written. */
  readonly open: number;
  /** Pieces that may be open at once, as of now. */
  readonly limit: number;
  get(piece: number): OpenPiece | undefined;
  /** The open piece, opened now when it was not; undefined when there is no memory. */
  ensure(piece: number): OpenPiece | undefined;
  /** Done with it, whatever came of it: its memory is free. */
  close(piece: number): void;
  /** A peer has gone. */
  abandon(writer: Writer): void;
  clear(): void;
}

function createOpenPiece(piece: number, size: number, memory: ArrayBuffer): OpenPiece {
  const blocks = Math.ceil(size / BLOCK_BYTES);
  let buffer = memory;
  let bytes = new Uint8Array(memory, 0, size);
  const senders: (Sender | undefined)[] = new Array(blocks).fill(undefined);
  const writers: (Writer | undefined)[] = new Array(blocks).fill(undefined);
  let missing = blocks;
  return {
    piece,
    size,
    get bytes() {
      return bytes;
    },
    get buffer() {
      return buffer;
    },
    set buffer(back) {
      buffer = back;
      bytes = new Uint8Array(back, 0, size);
    },
    senders,
    get missing() {
      return missing;
    },
    begin(offset, length, writer) {
      const block = offset / BLOCK_BYTES;
      if (senders[block] !== undefined) return undefined;
      const earlier = writers[block];
      if (earlier !== undefined && earlier !== writer) earlier.dropBlock();
      writers[block] = writer;
      return bytes.subarray(offset, offset + length);
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
  const spare: ArrayBuffer[] = [];

  function close(piece: number): void {
    const closing = open.get(piece);
    if (closing === undefined) return;
    closing.release();
    open.delete(piece);
    memory.give(pieceLength);
    const kept = (spare.length + 1) * pieceLength <= SPARE_BYTES;
    if (kept && !closing.buffer.detached) spare.push(closing.buffer);
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
      if (!memory.take(pieceLength, open.size < GUARANTEED_PIECES)) return undefined;
      const buffer = spare.pop() ?? new ArrayBuffer(pieceLength);
      const created = createOpenPiece(piece, options.pieceSize(piece), buffer);
      open.set(piece, created);
      return created;
    },
    close,
    abandon(writer) {
      for (const piece of open.values()) piece.abandon(writer);
    },
    clear() {
      for (const piece of [...open.keys()]) close(piece);
      spare.length = 0;
    },
  };
}
