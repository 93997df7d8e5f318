/**
 * A program's options as one table: key, kind, help and default. The names of the flag, the
 * environment variable and the YAML path follow from the key:
 * `cache.size` = `--cache-size` = `SHOAL_CACHE_SIZE` = `cache: {size: …}`.
 */
import type { Kind } from './kinds.ts';

/** What a derived default may look at: the text of an option that stands earlier in the table. */
export type EarlierText = (key: string) => string | undefined;

export interface Option<T = unknown> {
  readonly kind: Kind<unknown>;
  readonly help: string;
  /** May be given several times, as a comma list (flag, environment, default) or as a YAML list. */
  readonly list: boolean;
  /** The default as text, or how it follows from earlier options. */
  readonly fallback: string | ((earlier: EarlierText) => string | undefined) | undefined;
  /** The default in words, where the text alone would not say it. */
  readonly fallbackHelp: string | undefined;
  /** Only for the type of the value; never read. */
  readonly value?: T;
}

export type OptionTable = Readonly<Record<string, Option>>;

/** The values of a table, by key. */
export type Values<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends Option<infer V> ? V : never;
};

/** An option that may be left out: its value is then undefined. */
export function optional<T>(kind: Kind<T>, help: string): Option<T | undefined> {
  return { kind, help, list: false, fallback: undefined, fallbackHelp: undefined };
}

/** An option with a default, written as a user would write it. */
export function withDefault<T>(
  kind: Kind<T>,
  fallback: string,
  help: string,
  fallbackHelp?: string,
): Option<T> {
  return { kind, help, list: false, fallback, fallbackHelp };
}

/**
 * An option whose default follows from options above it in the table; `fallbackHelp` says how. It answers
 * undefined only when what it follows from is missing or wrong, which is an error of its own.
 */
export function derived<T>(
  kind: Kind<T>,
  fallback: (earlier: EarlierText) => string | undefined,
  fallbackHelp: string,
  help: string,
): Option<T> {
  return { kind, help, list: false, fallback, fallbackHelp };
}

/** An option that may be repeated. `fallback` is a comma list; without it the option is empty when it is not given. */
export function repeated<T>(kind: Kind<T>, help: string, fallback?: string): Option<readonly T[]> {
  return { kind, help, list: true, fallback, fallbackHelp: undefined };
}

/** Checks a table once, where it is written: a slip here is a mistake of ours, not of the user. */
export function defineOptions<const T extends OptionTable>(table: T): T {
  const keys = Object.keys(table);
  const flags = new Set(keys.map(flagName));
  if (flags.size !== keys.length) throw new TypeError('two options have the same flag');
  for (const key of keys) {
    if (!/^[a-z][a-z0-9]*(?:[.-][a-z][a-z0-9]*)*$/.test(key))
      throw new TypeError(`'${key}' cannot be an option's key`);
    if (keys.some((other) => other.startsWith(`${key}.`))) throw new TypeError(`'${key}' is also a group`);
  }
  return table;
}

/** `cache.size` → `cache-size` (without the two dashes). */
export function flagName(key: string): string {
  return key.replaceAll('.', '-');
}

/** `cache.size` → `SHOAL_CACHE_SIZE`. */
export function environmentName(key: string): string {
  return `SHOAL_${key.replaceAll(/[.-]/g, '_').toUpperCase()}`;
}

/** The default as help and documentation show it. */
export function fallbackText(option: Option): string | undefined {
  return option.fallbackHelp ?? (typeof option.fallback === 'string' ? option.fallback : undefined);
}
