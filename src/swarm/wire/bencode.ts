/**
 * Bencoding (BEP 3) of extended messages. A decoder of our own: it is fed by strangers, so
 * nesting and size are bounded, lengths cannot be negative, and every step moves forward.
 */
import { WireError } from './wire-error.ts';

export type BencodeValue = number | Uint8Array | BencodeValue[] | Map<string, BencodeValue>;

const MAX_DEPTH = 8;
const MAX_DIGITS = 16;

const COLON = 0x3a;
const DICTIONARY = 0x64;
const END = 0x65;
const INTEGER = 0x69;
const LIST = 0x6c;
const MINUS = 0x2d;

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

function byteAt(cursor: Cursor): number {
  const byte = cursor.bytes[cursor.at];
  if (byte === undefined) throw new WireError('bencoding ends too early');
  return byte;
}

/** Digits up to `terminator`, which is consumed. */
function digits(cursor: Cursor, terminator: number): number {
  let value = 0;
  const start = cursor.at;
  for (;;) {
    const byte = byteAt(cursor);
    cursor.at++;
    if (byte === terminator) break;
    if (byte < 0x30 || byte > 0x39 || cursor.at - start > MAX_DIGITS) {
      throw new WireError('bad number in bencoding');
    }
    value = value * 10 + (byte - 0x30);
  }
  if (cursor.at - start < 2 || !Number.isSafeInteger(value)) throw new WireError('bad number in bencoding');
  return value;
}

function integer(cursor: Cursor): number {
  const negative = byteAt(cursor) === MINUS;
  if (negative) cursor.at++;
  const value = digits(cursor, END);
  return negative ? -value : value;
}

function string(cursor: Cursor): Uint8Array {
  const length = digits(cursor, COLON);
  const start = cursor.at;
  if (length > cursor.bytes.length - start) throw new WireError('bencoding ends too early');
  cursor.at = start + length;
  return cursor.bytes.subarray(start, cursor.at);
}

function value(cursor: Cursor, depth: number): BencodeValue {
  if (depth > MAX_DEPTH) throw new WireError('bencoding nests too deep');
  const kind = byteAt(cursor);
  if (kind !== INTEGER && kind !== LIST && kind !== DICTIONARY) return string(cursor);
  cursor.at++;
  if (kind === INTEGER) return integer(cursor);
  if (kind === LIST) {
    const list: BencodeValue[] = [];
    while (byteAt(cursor) !== END) list.push(value(cursor, depth + 1));
    cursor.at++;
    return list;
  }
  const dictionary = new Map<string, BencodeValue>();
  while (byteAt(cursor) !== END) {
    const key = Buffer.from(string(cursor)).toString('latin1');
    dictionary.set(key, value(cursor, depth + 1));
  }
  cursor.at++;
  return dictionary;
}

/**
 * Decodes the value at the beginning of `bytes`; `length` tells where it ends (BEP 9 puts raw
 * bytes behind it). Strings are views into `bytes`. Throws WireError.
 */
export function decodeBencode(bytes: Uint8Array): { readonly value: BencodeValue; readonly length: number } {
  const cursor: Cursor = { bytes, at: 0 };
  return { value: value(cursor, 0), length: cursor.at };
}

/** Encodes a value; dictionary keys are sorted as BEP 3 asks. */
export function encodeBencode(input: BencodeValue | string): Buffer {
  if (typeof input === 'number') return Buffer.from(`i${input}e`);
  if (typeof input === 'string') return encodeBencode(Buffer.from(input));
  if (input instanceof Uint8Array) return Buffer.concat([Buffer.from(`${input.length}:`), input]);
  if (Array.isArray(input)) {
    return Buffer.concat([Buffer.from('l'), ...input.map(encodeBencode), Buffer.from('e')]);
  }
  const keys = [...input.keys()].sort();
  const entries = keys.flatMap((key) => [
    encodeBencode(Buffer.from(key, 'latin1')),
    encodeBencode(input.get(key) ?? 0),
  ]);
  return Buffer.concat([Buffer.from('d'), ...entries, Buffer.from('e')]);
}
