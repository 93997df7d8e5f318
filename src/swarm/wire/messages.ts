/**
 * The message table: id, number of 32-bit fields and whether bytes follow them. Everything that
 * is written or parsed goes by this table. All integers on the wire are big-endian.
 */

/** The unit of a request. Every client asks for 16 KiB; the last block of a blob is shorter. */
export const BLOCK_BYTES = 16_384;

/** Clients are allowed requests up to 128 KiB (old libtorrent and mainline did); more is refused. */
export const MAX_BLOCK_BYTES = 131_072;

/** Length prefix, id, piece and offset before a block's bytes. */
export const BLOCK_HEADER_BYTES = 13;

interface MessageSpec {
  readonly id: number;
  /** 32-bit fields after the id. */
  readonly fields: 0 | 1 | 2 | 3;
  /** Bytes of any number follow the fields. */
  readonly tail?: true;
}

export const MESSAGE = {
  // BEP 3
  choke: { id: 0, fields: 0 },
  unchoke: { id: 1, fields: 0 },
  interested: { id: 2, fields: 0 },
  notInterested: { id: 3, fields: 0 },
  have: { id: 4, fields: 1 },
  bitfield: { id: 5, fields: 0, tail: true },
  request: { id: 6, fields: 3 },
  piece: { id: 7, fields: 2, tail: true },
  cancel: { id: 8, fields: 3 },
  // BEP 6
  suggest: { id: 13, fields: 1 },
  haveAll: { id: 14, fields: 0 },
  haveNone: { id: 15, fields: 0 },
  reject: { id: 16, fields: 3 },
  allowedFast: { id: 17, fields: 1 },
  // BEP 10
  extended: { id: 20, fields: 0, tail: true },
} as const satisfies Record<string, MessageSpec>;

export type MessageName = keyof typeof MESSAGE;

/** Messages whose length follows from their name. */
type FixedName = Exclude<MessageName, 'bitfield' | 'piece' | 'extended'>;

/** The longest fixed message on the wire, with its length prefix: request, cancel and reject. */
export const FIXED_MESSAGE_BYTES = 17;

function writeUint32(into: Uint8Array, value: number, at: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}

/** Writes one fixed message at `at`; the fields it has not are ignored. Returns the position after it. */
export function writeMessage(
  into: Uint8Array,
  at: number,
  name: FixedName,
  first = 0,
  second = 0,
  third = 0,
): number {
  const { id, fields } = MESSAGE[name];
  writeUint32(into, 1 + 4 * fields, at);
  into[at + 4] = id;
  if (fields > 0) writeUint32(into, first, at + 5);
  if (fields > 1) writeUint32(into, second, at + 9);
  if (fields > 2) writeUint32(into, third, at + 13);
  return at + 5 + 4 * fields;
}

/** Writes the four zero bytes that keep a connection alive. */
export function writeKeepAlive(into: Uint8Array, at: number): number {
  writeUint32(into, 0, at);
  return at + 4;
}

/** Writes the 13 bytes before a block of `length` bytes. */
export function writeBlockHeader(
  into: Uint8Array,
  at: number,
  piece: number,
  offset: number,
  length: number,
): number {
  writeUint32(into, 9 + length, at);
  into[at + 4] = MESSAGE.piece.id;
  writeUint32(into, piece, at + 5);
  writeUint32(into, offset, at + 9);
  return at + BLOCK_HEADER_BYTES;
}

/** A whole bitfield message. `has` is asked for each piece. */
export function writeBitfield(pieceCount: number, has: (piece: number) => boolean): Uint8Array {
  const bytes = Math.ceil(pieceCount / 8);
  const message = new Uint8Array(5 + bytes);
  writeUint32(message, 1 + bytes, 0);
  message[4] = MESSAGE.bitfield.id;
  for (let piece = 0; piece < pieceCount; piece++) {
    if (has(piece)) message[5 + (piece >> 3)] = (message[5 + (piece >> 3)] ?? 0) | (0x80 >> (piece & 7));
  }
  return message;
}

/** The six bytes before an extended message (BEP 10) whose payload has `length` bytes. */
export function writeExtendedHeader(into: Uint8Array, extendedId: number, length: number): number {
  writeUint32(into, 2 + length, 0);
  into[4] = MESSAGE.extended.id;
  into[5] = extendedId;
  return 6;
}
