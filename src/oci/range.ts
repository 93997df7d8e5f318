/** Inclusive byte positions. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a Range header against a body of `size` bytes (RFC 9110, section 14).
 *
 * - `undefined`: no range, or another unit or bad syntax, which a server must ignore;
 * - `'unsatisfiable'`: answer 416 with `Content-Range: bytes *\/size`. A range that ends before it begins is
 *   such a one: a server may ignore or reject it, and the distribution API's clients expect a refusal;
 * - `'multiple'`: several ranges. Clients that ask for them (zstd:chunked) fall back on a 400.
 */
export function parseRange(
  header: string | undefined,
  size: number,
): ByteRange | 'unsatisfiable' | 'multiple' | undefined {
  if (header === undefined) return undefined;
  const match = /^bytes=(.*)$/i.exec(header.trim());
  if (!match) return undefined;
  const specs = (match[1] ?? '').split(',').map((spec) => spec.trim());
  if (specs.length > 1) {
    return specs.every((spec) => /^(\d+-\d*|-\d+)$/.test(spec)) ? 'multiple' : undefined;
  }
  const spec = /^(\d{0,16})-(\d{0,16})$/.exec(specs[0] ?? '');
  if (!spec) return undefined;
  const [, first = '', last = ''] = spec;
  if (first === '') {
    if (last === '') return undefined;
    const length = Math.min(Number(last), size);
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size - 1 };
  }
  const start = Number(first);
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1);
  return start > end || start >= size ? 'unsatisfiable' : { start, end };
}

/**
 * How many bytes a single closed range (`bytes=5-9`, `bytes=-5`) asks for, before the size of the body is
 * known; undefined for every other header, an open-ended range among them.
 */
export function closedRangeLength(header: string | undefined): number | undefined {
  const match = /^bytes=\s*(\d{0,16})-(\d{1,16})\s*$/i.exec(header?.trim() ?? '');
  if (!match) return undefined;
  const [, first = '', last = ''] = match;
  const length = first === '' ? Number(last) : Number(last) - Number(first) + 1;
  return length > 0 ? length : undefined;
}
