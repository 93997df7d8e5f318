/**
 * Bytes of one connection, after the handshake, to events. It owns what has come of the message
 * in progress: at most a fixed header, or one bounded small message; a block's payload goes
 * straight to its place. Any split of the byte stream into chunks gives the same events.
 *
 * Refused with a WireError (the connection is then of no more use):
 * - a length that the message table does not allow, a bitfield or block of the wrong size
 * - a piece index, offset or block length outside the blob
 * - fast messages that were not offered
 * - an extended message above its bound. Unknown ids within the bound are skipped, as BEP 3 clients do.
 */
import { BLOCK_BYTES, MAX_BLOCK_BYTES, MESSAGE } from './messages.ts';
import { WireError } from './wire-error.ts';

/** What a peer said. Called in the order of the wire, during `push`. */
export interface WireEvents {
  keepAlive(): void;
  choke(): void;
  unchoke(): void;
  interested(): void;
  notInterested(): void;
  have(piece: number): void;
  /** `bits` is valid during the call only; spare bits are zero. Comes late too: aria2 sends one instead of many HAVEs. */
  bitfield(bits: Uint8Array): void;
  haveAll(): void;
  haveNone(): void;
  request(piece: number, offset: number, length: number): void;
  cancel(piece: number, offset: number, length: number): void;
  reject(piece: number, offset: number, length: number): void;
  /** A message of a later BEP, or none; it was skipped. */
  unknown(id: number): void;
  /** `payload` is valid during the call only. */
  extended(extendedId: number, payload: Uint8Array): void;
  /** A block begins: the bytes of its piece, into which it goes at `offset`, or undefined to let it pass. */
  blockStart(piece: number, offset: number, length: number): Uint8Array | undefined;
  /** All bytes of the block that began last have come. `stored` tells whether they were put to where `blockStart` said. */
  blockEnd(piece: number, offset: number, length: number, stored: boolean): void;
}

/** Bounds that follow from the blob. */
export interface DecoderLimits {
  readonly pieceCount: number;
  /** Bytes of a piece; pieces differ in length at the end. */
  readonly pieceSize: (piece: number) => number;
  /** Both sides offered BEP 6. */
  readonly fast: boolean;
}

export interface Decoder {
  /** Takes the next bytes. Throws WireError. Does not keep `chunk`. */
  push(chunk: Buffer): void;
  /** The rest of the block in progress is let pass: its place was given to somebody else. */
  dropBlock(): void;
  /** No more events, also from the chunk that is being pushed. */
  stop(): void;
}

/** Extended handshakes of real clients are below 1 KiB; peer exchange messages stay below 8 KiB. */
const MAX_EXTENDED_BYTES = 65_536;

/** Messages that we do not know (a later BEP) are skipped up to this length. */
const MAX_UNKNOWN_BYTES = 1_024;

/** What a connection keeps for a message in parts; a longer one (bitfield, extended) is let go after use. */
const KEPT_CARRY_BYTES = 64;

/** Length prefix, id and the two fields of a block. */
const MAX_HEADER_BYTES = 13;

/** Expected length of each fixed message (id and fields) by its id; 0 is none. */
const FIXED_LENGTH: Uint8Array = new Uint8Array(256);
for (const spec of Object.values(MESSAGE)) {
  if (!('tail' in spec)) FIXED_LENGTH[spec.id] = 1 + 4 * spec.fields;
}

function readUint32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) * 0x100_0000 +
    (((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0))
  );
}

/** A decoder for one connection. */
export function createDecoder(events: WireEvents, limits: DecoderLimits): Decoder {
  const bitfieldBytes = Math.ceil(limits.pieceCount / 8);
  /** Start of a message that came in parts; grows to the message's length, never beyond the bounds above. */
  let carry: Uint8Array = new Uint8Array(KEPT_CARRY_BYTES);
  let carried = 0;
  let stopped = false;
  // The block in progress.
  let blockPiece = 0;
  let blockOffset = 0;
  let blockLength = 0;
  let blockDone = 0;
  let inBlock = false;
  let blockInto: Uint8Array | undefined;

  function checkPiece(piece: number): void {
    if (piece >= limits.pieceCount) throw new WireError(`piece ${piece} of ${limits.pieceCount}`);
  }

  function checkBlock(piece: number, offset: number, length: number): void {
    checkPiece(piece);
    if (length === 0 || length > MAX_BLOCK_BYTES) throw new WireError(`block of ${length} bytes`);
    if (offset + length > limits.pieceSize(piece)) {
      throw new WireError(`block ${offset}+${length} ends outside piece ${piece}`);
    }
  }

  function checkFast(name: string): void {
    if (!limits.fast) throw new WireError(`${name} without the fast extension`);
  }

  /** Bytes of the message (without the prefix) whose length and id are known; throws when they cannot be. */
  function checkLength(length: number, id: number): void {
    const fixed = FIXED_LENGTH[id] ?? 0;
    if (fixed !== 0) {
      if (length !== fixed) throw new WireError(`message ${id} of ${length} bytes`);
      return;
    }
    if (id === MESSAGE.piece.id) {
      // We never ask for more than one block, so a longer one answers nothing.
      if (length < 10 || length > 9 + BLOCK_BYTES) throw new WireError(`block message of ${length} bytes`);
    } else if (id === MESSAGE.bitfield.id) {
      if (length !== 1 + bitfieldBytes) throw new WireError(`bitfield message of ${length} bytes`);
    } else if (id === MESSAGE.extended.id) {
      if (length < 2 || length > MAX_EXTENDED_BYTES)
        throw new WireError(`extended message of ${length} bytes`);
    } else if (length > MAX_UNKNOWN_BYTES) {
      throw new WireError(`unknown message ${id} of ${length} bytes`);
    }
  }

  function checkSpareBits(bits: Uint8Array): void {
    const used = limits.pieceCount & 7;
    if (used !== 0 && ((bits[bits.length - 1] ?? 0) & (0xff >> used)) !== 0) {
      throw new WireError('bitfield names pieces that do not exist');
    }
  }

  /** One whole message that is not a block; `at` is its id, `length` counts the id. */
  function message(bytes: Uint8Array, at: number, length: number): void {
    const id = bytes[at] ?? 0;
    const piece = length >= 5 ? readUint32(bytes, at + 1) : 0;
    switch (id) {
      case MESSAGE.choke.id:
        events.choke();
        break;
      case MESSAGE.unchoke.id:
        events.unchoke();
        break;
      case MESSAGE.interested.id:
        events.interested();
        break;
      case MESSAGE.notInterested.id:
        events.notInterested();
        break;
      case MESSAGE.have.id:
        checkPiece(piece);
        events.have(piece);
        break;
      case MESSAGE.bitfield.id: {
        const bits = bytes.subarray(at + 1, at + length);
        checkSpareBits(bits);
        events.bitfield(bits);
        break;
      }
      case MESSAGE.haveAll.id:
        checkFast('have-all');
        events.haveAll();
        break;
      case MESSAGE.haveNone.id:
        checkFast('have-none');
        events.haveNone();
        break;
      case MESSAGE.request.id:
      case MESSAGE.cancel.id:
      case MESSAGE.reject.id: {
        const offset = readUint32(bytes, at + 5);
        const size = readUint32(bytes, at + 9);
        checkBlock(piece, offset, size);
        if (id === MESSAGE.request.id) events.request(piece, offset, size);
        else if (id === MESSAGE.cancel.id) events.cancel(piece, offset, size);
        else {
          checkFast('reject');
          events.reject(piece, offset, size);
        }
        break;
      }
      case MESSAGE.suggest.id:
      case MESSAGE.allowedFast.id:
        // Advice that we have no use for: everybody here unchokes everybody.
        checkFast('suggest or allowed-fast');
        checkPiece(piece);
        break;
      case MESSAGE.extended.id:
        events.extended(bytes[at + 1] ?? 0, bytes.subarray(at + 2, at + length));
        break;
      default:
        events.unknown(id);
    }
  }

  function startBlock(bytes: Uint8Array, at: number, length: number): void {
    blockPiece = readUint32(bytes, at + 1);
    blockOffset = readUint32(bytes, at + 5);
    blockLength = length - 9;
    checkBlock(blockPiece, blockOffset, blockLength);
    inBlock = true;
    blockDone = 0;
    blockInto = events.blockStart(blockPiece, blockOffset, blockLength);
  }

  /** Moves bytes of the block in progress to their place; returns the position after them. */
  function continueBlock(chunk: Buffer, from: number): number {
    const take = Math.min(blockLength - blockDone, chunk.length - from);
    // Buffer's copy, unlike a typed array's `set`, is fast into shared memory and makes no views.
    if (blockInto !== undefined) chunk.copy(blockInto, blockOffset + blockDone, from, from + take);
    blockDone += take;
    if (blockDone === blockLength) {
      const stored = blockInto !== undefined;
      inBlock = false;
      blockInto = undefined;
      events.blockEnd(blockPiece, blockOffset, blockLength, stored);
    }
    return from + take;
  }

  function grow(size: number): void {
    if (carry.length >= size) return;
    const larger = new Uint8Array(size);
    larger.set(carry.subarray(0, carried));
    carry = larger;
  }

  /** Handles the message that begins at `at` of `bytes` when enough of it is there; returns bytes used, or the count that is needed. */
  function step(bytes: Uint8Array, at: number, end: number): { used: number; need: number } {
    const available = end - at;
    if (available < 4) return needs(4);
    const length = readUint32(bytes, at);
    if (length === 0) {
      events.keepAlive();
      return uses(4);
    }
    if (available < 5) return needs(5);
    const id = bytes[at + 4] ?? 0;
    checkLength(length, id);
    if (id === MESSAGE.piece.id) {
      if (available < MAX_HEADER_BYTES) return needs(MAX_HEADER_BYTES);
      startBlock(bytes, at + 4, length);
      return uses(MAX_HEADER_BYTES);
    }
    if (available < 4 + length) return needs(4 + length);
    message(bytes, at + 4, length);
    return uses(4 + length);
  }

  // One result object is used again and again: this runs for each message.
  const result = { used: 0, need: 0 };
  function needs(count: number): typeof result {
    result.used = 0;
    result.need = count;
    return result;
  }
  function uses(count: number): typeof result {
    result.used = count;
    result.need = 0;
    return result;
  }

  /** Completes the message in `carry` from the chunk; returns the position after the bytes taken. */
  function resumeCarried(chunk: Uint8Array): number {
    let from = 0;
    while (!stopped) {
      const { used, need } = step(carry, 0, carried);
      if (used > 0) {
        carried = 0;
        if (carry.length > KEPT_CARRY_BYTES) carry = new Uint8Array(KEPT_CARRY_BYTES);
        return from;
      }
      grow(need);
      const take = Math.min(need - carried, chunk.length - from);
      if (take === 0) return from;
      carry.set(chunk.subarray(from, from + take), carried);
      carried += take;
      from += take;
    }
    return chunk.length;
  }

  return {
    push(chunk) {
      let at = 0;
      if (carried > 0) at = resumeCarried(chunk);
      while (at < chunk.length && !stopped) {
        if (inBlock) {
          at = continueBlock(chunk, at);
        } else {
          const { used, need } = step(chunk, at, chunk.length);
          if (used === 0) {
            grow(need);
            carry.set(chunk.subarray(at), 0);
            carried = chunk.length - at;
            return;
          }
          at += used;
        }
      }
    },
    dropBlock() {
      blockInto = undefined;
    },
    stop() {
      stopped = true;
      blockInto = undefined;
    },
  };
}
