/**
 * Merges the sources of a program's configuration: flags beat environment beats file beats defaults.
 * Every problem is collected, so that a user mends a file in one go, and every value remembers where
 * it came from.
 */
import { readFileSync } from 'node:fs';
import { ConfigError } from './errors.ts';
import { type FileContent, type FileEntry, readConfigText } from './file.ts';
import { nearest } from './nearest.ts';
import { environmentName, flagName, type Option, type OptionTable, type Values } from './options.ts';

export interface Sources {
  /** Texts by flag name (without dashes), in the order given. */
  readonly flags?: Readonly<Record<string, readonly string[]>>;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** A YAML file. */
  readonly file?: string | undefined;
}

/** One option's merged text and its source in words: `flag --listen`, `agent.yaml:3`, `default`. */
export interface Setting {
  readonly texts: readonly string[];
  readonly source: string;
  /** Of each text, when they stand on lines of their own. */
  readonly sources?: readonly string[];
}

export interface Resolved<T extends OptionTable> {
  readonly values: Values<T>;
  /** By key; an option that nobody set and that has no default is absent. */
  readonly settings: ReadonlyMap<string, Setting>;
}

/**
 * Merges and checks. Required options and combinations are the program's to check.
 * @throws ConfigError with a line for each problem
 */
export function resolveOptions<const T extends OptionTable>(table: T, sources: Sources): Resolved<T> {
  const keys = Object.keys(table);
  const file = sources.file === undefined ? undefined : readConfigFile(sources.file, keys, table);
  const problems = [...(file?.problems ?? [])];
  const settings = new Map<string, Setting>();
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    const setting = choose(key, option, sources, file, settings);
    const wrong = problems.length;
    values[key] = read(key, option, setting, problems);
    // A wrong value is reported once, not again by the defaults that follow from it.
    if (setting && problems.length === wrong) settings.set(key, setting);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return { values: values as Values<T>, settings };
}

/**
 * SHOAL_ variables that no table knows, as warnings: a misspelt one would be ignored in silence.
 * `known` are the names that mean something to any program on this machine.
 */
export function unknownVariables(
  environment: Readonly<Record<string, string | undefined>>,
  known: ReadonlySet<string>,
): string[] {
  return Object.keys(environment)
    .filter((name) => name.startsWith('SHOAL_') && !known.has(name))
    .map((name) => {
      const near = nearest(name, known);
      return `the environment variable ${name} means nothing to shoal${near ? `; did you mean ${near}?` : ''}`;
    });
}

function readConfigFile(file: string, keys: readonly string[], table: OptionTable): FileContent {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const reason = code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new ConfigError([`cannot read the configuration ${file}: ${reason}`]);
  }
  return readConfigText(text, file, keys, (key) => table[key]?.kind.fields);
}

function choose(
  key: string,
  option: Option,
  sources: Sources,
  file: FileContent | undefined,
  earlier: ReadonlyMap<string, Setting>,
): Setting | undefined {
  const separator = option.kind.separator ?? ',';
  const flag = flagName(key);
  const given = sources.flags?.[flag];
  if (given !== undefined && given.length > 0) {
    return {
      texts: option.list ? given.flatMap((each) => split(each, separator)) : given.slice(-1),
      source: `flag --${flag}`,
    };
  }
  const variable = environmentName(key);
  const text = sources.environment?.[variable];
  if (text !== undefined) {
    return { texts: option.list ? split(text, separator) : [text], source: `environment ${variable}` };
  }
  const entry: FileEntry | undefined = file?.entries.get(key);
  if (entry) {
    // A list where one value belongs is kept whole, so that reading it reports the line.
    const texts = option.list || !entry.list ? entry.texts : [entry.texts.join(', ')];
    const lines = texts.length === entry.lines.length && option.list ? entry.lines : undefined;
    return {
      texts,
      source: `${sources.file}:${entry.line}`,
      ...(lines && { sources: lines.map((line) => `${sources.file}:${line}`) }),
    };
  }
  const fallback =
    typeof option.fallback === 'function'
      ? option.fallback((other) => earlier.get(other)?.texts.join(','))
      : option.fallback;
  if (fallback === undefined) return undefined;
  return { texts: option.list ? split(fallback, separator) : [fallback], source: 'default' };
}

function split(text: string, separator: string): string[] {
  return text
    .split(separator)
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function read(key: string, option: Option, setting: Setting | undefined, problems: string[]): unknown {
  const parsed: unknown[] = [];
  for (const [index, text] of (setting?.texts ?? []).entries()) {
    const result = option.kind.schema.safeParse(text);
    if (result.success) {
      parsed.push(result.data);
      continue;
    }
    const source = setting?.sources?.[index] ?? setting?.source;
    const reason = result.error.issues[0]?.message ?? `expected ${option.kind.expected}`;
    problems.push(`${key}: '${withoutSecret(text).slice(0, 200)}' (${source}) is wrong: ${reason}`);
  }
  return option.list ? parsed : parsed[0];
}

/** A URL with `user:password@` is wrong everywhere, and its error must not show the password. */
function withoutSecret(text: string): string {
  return text.replace(/:\/\/[^/]*@/g, '://…@');
}
