/**
 * The kinds of value that an option can have. A value is text wherever it comes from (a flag, an
 * environment variable, a YAML scalar), so one schema per kind reads it, and one text says what it
 * expects.
 */
import { z } from 'zod';
import { isEndpointUrl } from '#endpoints';
import { type HostPort, parseHostPort } from '#http';

export interface Kind<T> {
  /** Shown in help after the flag: `--cache-size SIZE`. */
  readonly placeholder: string;
  /** Completes "expected …" in an error. */
  readonly expected: string;
  readonly schema: z.ZodType<T, string>;
  /** What stands between two values of a list in one text; a comma by default. */
  readonly separator?: string;
  /** The value has these named parts; in YAML it may then be written as a map of them. */
  readonly fields?: readonly string[];
}

/** A kind of one's own: `parse` answers undefined for text that is not one; `expected` completes "expected …". */
export function kind<T>(
  placeholder: string,
  expected: string,
  parse: (text: string) => T | undefined,
): Kind<T> {
  const schema = z.string().transform((text, context): T => {
    const value = parse(text.trim());
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });
  return { placeholder, expected, schema };
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};
const BIT_UNITS: Readonly<Record<string, number>> = {
  'bit/s': 1,
  'kbit/s': 1e3,
  'Mbit/s': 1e6,
  'Gbit/s': 1e9,
};

/** A positive whole number of `units`; undefined when the text, the unit or the magnitude is not sensible. */
function quantity(text: string, units: Readonly<Record<string, number>>, divisor = 1): number | undefined {
  const match = /^(\d{1,16}(?:\.\d{1,6})?)\s*([A-Za-z/]*)$/.exec(text);
  const factor = Object.hasOwn(units, match?.[2] ?? '?') ? units[match?.[2] ?? '?'] : undefined;
  if (match === null || factor === undefined) return undefined;
  const value = Math.floor((Number(match[1]) * factor) / divisor);
  return value > 0 && Number.isSafeInteger(value) ? value : undefined;
}

/** Bytes. */
export const size = kind('SIZE', 'a size such as 10GiB or 500MB', (text) => quantity(text, SIZE_UNITS));

const RATE_UNITS = Object.fromEntries(
  Object.entries(SIZE_UNITS)
    .filter(([unit]) => unit !== '')
    .map(([unit, factor]) => [`${unit}/s`, factor]),
);

/** Bytes per second; a bit rate is divided by eight. */
export const rate = kind(
  'RATE',
  'a rate such as 100MiB/s or 800Mbit/s',
  (text) => quantity(text, RATE_UNITS) ?? quantity(text, BIT_UNITS, 8),
);

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds. */
export const duration = kind('DURATION', 'a duration such as 30s, 5m or 2h', (text) =>
  quantity(text, DURATION_UNITS),
);

function hostPortOrUndefined(text: string): HostPort | undefined {
  try {
    return parseHostPort(text);
  } catch {
    return undefined;
  }
}

/** A socket address; port 0 takes a free port. */
export const hostPort = kind(
  'HOST:PORT',
  'HOST:PORT, for example 127.0.0.1:5000 or [::1]:5000',
  hostPortOrUndefined,
);

/** A socket address, or `off` for no listener. */
export const hostPortOrOff = kind<HostPort | 'off'>(
  'HOST:PORT|off',
  "HOST:PORT (for example 127.0.0.1:6881) or 'off'",
  (text) => (text === 'off' ? 'off' : hostPortOrUndefined(text)),
);

/**
 * An http or https URL without query and fragment; a slash at its end is dropped. One with a user name
 * or password is refused: URLs are printed, logged and told to other members.
 */
export const url = kind('URL', 'a URL such as http://127.0.0.1:5000, without a user name in it', readUrl);

function readUrl(text: string): string | undefined {
  const parsed = URL.parse(text);
  const usable =
    parsed !== null &&
    /^https?:$/.test(parsed.protocol) &&
    parsed.search === '' &&
    parsed.hash === '' &&
    parsed.username === '' &&
    parsed.password === '' &&
    /^https?:\/\//i.test(text);
  return usable ? text.replace(/\/+$/, '') : undefined;
}

/** A URL of one server, or with `dns+` before it of one at each address of its name. */
export const serverUrl = kind(
  'URL',
  'a URL such as http://127.0.0.1:5000, or dns+http://NAME:5000 for every address of a name',
  (text) => {
    const [prefix = '', rest = ''] = /^(dns\+)?(.*)$/is.exec(text)?.slice(1) ?? [];
    const usable = readUrl(rest);
    return usable !== undefined && isEndpointUrl(text) ? `${prefix.toLowerCase()}${usable}` : undefined;
  },
);

/** A path of the file system, relative to the working directory. */
export const path = kind('PATH', 'a path', (text) => (text === '' || text.includes('\0') ? undefined : text));

/** A host name or an IP address, without a port. */
export const host = kind('HOST', 'a host name or an IP address without a port', (text) =>
  /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$|^(?=.*:)[0-9A-Fa-f:.]{2,45}$/.test(text)
    ? text
    : undefined,
);

/** Any text but the empty one. */
export function string(placeholder: string, expected: string, pattern = /^.+$/s): Kind<string> {
  return kind(placeholder, expected, (text) => (pattern.test(text) ? text : undefined));
}

/** One of the given words. */
export function oneOf<const W extends string>(...words: readonly [W, ...W[]]): Kind<W> {
  return kind(words.join('|'), `one of ${words.join(', ')}`, (text) => words.find((word) => word === text));
}

/**
 * A value of named parts, each a word or a comma list of words. As text `user=ann actions=pull,push`;
 * in YAML also the map `{user: ann, actions: [pull, push]}`. Values of a list are split by `;`.
 * `make` answers with the value, or with the reason why there is none.
 */
export function record<const F extends string, T extends object>(options: {
  readonly placeholder: string;
  readonly fields: readonly F[];
  readonly make: (parts: Readonly<Partial<Record<F, readonly string[]>>>) => T | string;
}): Kind<T> {
  const { placeholder, fields, make } = options;
  const parse = (text: string): T | string => {
    const parts: Partial<Record<F, readonly string[]>> = {};
    for (const word of text.trim().split(/\s+/)) {
      const equals = word.indexOf('=');
      const field = fields.find((name) => name === word.slice(0, equals));
      if (equals < 0 || field === undefined) return `'${word}' is none of ${fields.join('=…, ')}=…`;
      if (parts[field] !== undefined) return `${field} is given twice`;
      parts[field] = word
        .slice(equals + 1)
        .split(',')
        .filter((part) => part !== '');
    }
    return make(parts);
  };
  const schema = z.string().transform((text, context): T => {
    const value = parse(text);
    if (typeof value !== 'string') return value;
    context.addIssue({ code: 'custom', message: value });
    return z.NEVER;
  });
  return { placeholder, expected: placeholder, schema, fields, separator: ';' };
}
