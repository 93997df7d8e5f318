/** Keys and order of a dictionary are those of the input; a byte string is a view of it. */
export type Bencoded = number | Uint8Array | readonly Bencoded[] | ReadonlyMap<string, Bencoded>;

export class BencodeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BencodeError';
  }
}

const MAX_DEPTH = 8;
/** Trackers send numbers of 64 bits. */
const MAX_DIGITS = 20;

const COLON = 0x3a;
const ZERO = 0x30;
const NINE = 0x39;
const [INTEGER, LIST, DICTIONARY, END, MINUS] = [0x69, 0x6c, 0x64, 0x65, 0x2d];

/**
 * Reads the canonical form alone, so that what is decoded and encoded again is the same bytes and an infohash
 * can be trusted.
 * @throws BencodeError for anything but one canonical value that fills `bytes`
 */
export function decodeBencode(bytes: Uint8Array, maxDepth = MAX_DEPTH): Bencoded {
  const { value, length } = read(bytes, maxDepth, true);
  if (length !== bytes.length) throw new BencodeError(`bytes after the end at byte ${length}`);
  return value;
}

/**
 * Reads the value at the beginning of `bytes` as clients and trackers in the field write it: keys in any order, of equal ones
 * the last, numbers with zeros in front, and numbers so large that they are not exact. What follows is not looked at (BEP 9 puts raw bytes there).
 * @throws BencodeError
 */
export function decodeBencodeLoosely(bytes: Uint8Array): Bencoded {
  return read(bytes, MAX_DEPTH, false).value;
}

function read(
  bytes: Uint8Array,
  maxDepth: number,
  canonical: boolean,
): { readonly value: Bencoded; readonly length: number } {
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
      if (at - start > MAX_DIGITS) return fail('number too large');
      if (canonical && !Number.isSafeInteger(value)) return fail('number too large');
    }
    if (at === start) return fail('no digit');
    if (canonical && bytes[start] === ZERO && at - start > 1) return fail('number not canonical');
    at += 1;
    return value;
  };
  const integer = (): number => {
    const negative = bytes[at] === MINUS;
    if (negative) at += 1;
    const number = digits(END);
    if (!negative) return number;
    return number === 0 ? (canonical ? fail('negative zero') : 0) : -number;
  };
  const string = (): Uint8Array => {
    const length = digits(COLON);
    if (length > bytes.length - at) return fail('string longer than the input');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const ends = (): boolean => {
    if (bytes[at] !== END) return false;
    at += 1;
    return true;
  };
  const value = (depth: number): Bencoded => {
    if (depth > maxDepth) return fail('nested too deep');
    const type = bytes[at];
    if (type !== INTEGER && type !== LIST && type !== DICTIONARY) return string();
    at += 1;
    if (type === INTEGER) return integer();
    if (type === LIST) {
      const list: Bencoded[] = [];
      while (!ends()) list.push(value(depth + 1));
      return list;
    }
    const map = new Map<string, Bencoded>();
    let last: string | undefined;
    while (!ends()) {
      const key = Buffer.from(string()).toString('latin1');
      if (canonical && last !== undefined && key <= last) return fail('keys not sorted');
      last = key;
      map.set(key, value(depth + 1));
    }
    return map;
  };

  const result = value(0);
  return { value: result, length: at };
}
