/**
 * Bencoding (BEP 3), strict: only the canonical form is read, so that what is decoded and encoded
 * again is the same bytes and an infohash can be trusted. Depth and size are bounded by the caller's
 * limits before anything is allocated.
 */

/** Keys and order of a dictionary are those of the input; a byte string is a view of it. */
export type Bencoded = number | Uint8Array | readonly Bencoded[] | ReadonlyMap<string, Bencoded>;

export class BencodeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BencodeError';
  }
}

const COLON = 0x3a;
const ZERO = 0x30;
const NINE = 0x39;
const [INTEGER, LIST, DICTIONARY, END, MINUS] = [0x69, 0x6c, 0x64, 0x65, 0x2d];

/** @throws BencodeError for anything but one canonical value that fills `bytes`. */
export function decodeBencode(bytes: Uint8Array, maxDepth = 8): Bencoded {
  let at = 0;

  const fail = (what: string): never => {
    throw new BencodeError(`${what} at byte ${at}`);
  };
  const digits = (end: number): number => {
    const start = at;
    let value = 0;
    while (bytes[at] !== end) {
      const digit = bytes[at];
      if (digit === undefined || digit < ZERO || digit > NINE) return fail('not a digit');
      value = value * 10 + (digit - ZERO);
      at += 1;
      if (at - start > 16 || !Number.isSafeInteger(value)) return fail('number too large');
    }
    if (at === start || (bytes[start] === ZERO && at - start > 1)) return fail('number not canonical');
    at += 1;
    return value;
  };
  const string = (): Uint8Array => {
    const length = digits(COLON);
    if (length > bytes.length - at) return fail('string longer than the input');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const value = (depth: number): Bencoded => {
    if (depth > maxDepth) return fail('nested too deep');
    const type = bytes[at];
    if (type === INTEGER) {
      at += 1;
      const negative = bytes[at] === MINUS;
      if (negative) at += 1;
      const number = digits(END);
      return negative ? (number === 0 ? fail('negative zero') : -number) : number;
    }
    if (type === LIST) {
      at += 1;
      const list: Bencoded[] = [];
      while (bytes[at] !== END) list.push(value(depth + 1));
      at += 1;
      return list;
    }
    if (type === DICTIONARY) {
      at += 1;
      const map = new Map<string, Bencoded>();
      let last: string | undefined;
      while (bytes[at] !== END) {
        const key = Buffer.from(string()).toString('latin1');
        if (last !== undefined && key <= last) return fail('keys not sorted');
        last = key;
        map.set(key, value(depth + 1));
      }
      at += 1;
      return map;
    }
    return string();
  };

  const result = value(0);
  if (at !== bytes.length) fail('bytes after the end');
  return result;
}

/** What may be encoded; text becomes UTF-8, and dictionaries are written in key order. */
export type Encodable =
  | number
  | string
  | Uint8Array
  | readonly Encodable[]
  | { readonly [key: string]: Encodable };

export function encodeBencode(value: Encodable): Buffer {
  const parts: Uint8Array[] = [];
  const write = (entry: Encodable): void => {
    if (typeof entry === 'number') {
      parts.push(Buffer.from(`i${entry}e`));
    } else if (typeof entry === 'string') {
      const text = Buffer.from(entry);
      parts.push(Buffer.from(`${text.length}:`), text);
    } else if (entry instanceof Uint8Array) {
      parts.push(Buffer.from(`${entry.length}:`), entry);
    } else if (Array.isArray(entry)) {
      parts.push(Buffer.from('l'));
      for (const item of entry as readonly Encodable[]) write(item);
      parts.push(Buffer.from('e'));
    } else {
      parts.push(Buffer.from('d'));
      for (const [key, item] of Object.entries(entry).sort(([a], [b]) => (a < b ? -1 : 1))) {
        write(key);
        write(item);
      }
      parts.push(Buffer.from('e'));
    }
  };
  write(value);
  return Buffer.concat(parts);
}
