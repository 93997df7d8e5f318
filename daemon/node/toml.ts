/**
 * Small insertions into TOML that others wrote. The text is changed a line at a time, so that comments and order stay; then it
 * is parsed, and counts only when it says what the old text said and the one thing more. Where no insertion
 * does, nothing is changed.
 */
import { parse, type TomlTable, type TomlValue } from 'smol-toml';
import { NodeSetupError } from './error.ts';

/** @throws NodeSetupError with file, line and reason */
export function parseToml(file: string, text: string): TomlTable {
  try {
    return parse(text, { integersAsBigInt: 'asNeeded' });
  } catch (error) {
    const { line } = error as { line?: number };
    const [reason] = (error as Error).message.replace(/^Invalid TOML document: /, '').split('\n');
    throw new NodeSetupError(`${file}${line === undefined ? '' : `:${line}`} is not valid TOML: ${reason}`);
  }
}

/** The table at a path of keys; undefined when there is none. */
export function tableAt(table: TomlTable, ...keys: readonly string[]): TomlTable | undefined {
  let at: TomlValue | undefined = table;
  for (const key of keys) at = isTable(at) && Object.hasOwn(at, key) ? at[key] : undefined;
  return isTable(at) ? at : undefined;
}

export function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date);
}

/**
 * The text with `config_path = value` in `[plugins."<plugin>".registry]`; undefined when that cannot be done safely.
 * `version` is put at its top when it has none.
 */
export function withConfigPath(
  text: string,
  plugin: string,
  value: string,
  version?: number,
): string | undefined {
  const wanted = parse(text, { integersAsBigInt: 'asNeeded' });
  if (version !== undefined) wanted['version'] = version;
  const plugins = ensureTable(wanted, 'plugins');
  const section = plugins && ensureTable(plugins, plugin);
  const registry = section && ensureTable(section, 'registry');
  if (!registry) return undefined;
  registry['config_path'] = value;
  const setting = `config_path = ${JSON.stringify(value)}`;
  const versioned = version === undefined ? text : `version = ${version}${endOfLine(text)}${text}`;
  const names = plugin === 'cri' ? 'cri' : JSON.stringify(plugin);
  const header = `[plugins.${names}.registry]`;
  return firstThatSays(wanted, [
    ...linesReplaced(
      versioned,
      /^(\s*)config_path\s*=\s*(?:"[^"]*"|'[^']*')(\s*(?:#.*)?)$/,
      `$1${setting}$2`,
    ),
    ...linesFollowed(
      versioned,
      /^(\s*)\[[^[].*registry["']?\s*\]\s*(?:#.*)?$/,
      (indent) => `${indent}  ${setting}`,
    ),
    appended(versioned, [header, `  ${setting}`]),
  ]);
}

/**
 * The text of a hosts.toml with `url` as its first host; the same text when it is that already, undefined when
 * it cannot be put there safely.
 */
export function withFirstHost(text: string, url: string): string | undefined {
  const wanted = parse(text, { integersAsBigInt: 'asNeeded' });
  const hosts = tableAt(wanted, 'host');
  if (hosts && Object.keys(hosts)[0] === url) return text;
  if (hosts && Object.hasOwn(hosts, url)) return undefined;
  const capabilities = ['pull', 'resolve'];
  wanted['host'] = { [url]: { capabilities }, ...hosts };
  const block = [`[host.${JSON.stringify(url)}]`, '  capabilities = ["pull", "resolve"]'];
  const candidates = [...linesPreceded(text, /^\s*\[/, [...block, '']), appended(text, block)];
  return firstThatSays(
    wanted,
    candidates.filter((candidate) => firstHost(candidate) === url),
  );
}

/** The first host in the order in which containerd reads them. */
function firstHost(text: string): string | undefined {
  const hosts = parsed(text)?.['host'];
  return isTable(hosts) ? Object.keys(hosts)[0] : undefined;
}

function ensureTable(table: TomlTable, key: string): TomlTable | undefined {
  const own = Object.hasOwn(table, key);
  if (!own) table[key] = {};
  const value = table[key];
  return isTable(value) ? value : undefined;
}

function firstThatSays(wanted: TomlTable, candidates: Iterable<string>): string | undefined {
  const meaning = canonical(wanted);
  for (const candidate of candidates) {
    const table = parsed(candidate);
    if (table && canonical(table) === meaning) return candidate;
  }
  return undefined;
}

function parsed(text: string): TomlTable | undefined {
  try {
    return parse(text, { integersAsBigInt: 'asNeeded' });
  } catch {
    return undefined;
  }
}

/** Equal for tables that say the same. */
function canonical(value: TomlValue): string {
  if (value instanceof Date) return `date ${value.toISOString()}`;
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value === 'object') {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${fields.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join()}}`;
  }
  return typeof value === 'string' ? JSON.stringify(value) : `${typeof value} ${value}`;
}

function endOfLine(text: string): string {
  return /\r\n/.test(text) ? '\r\n' : '\n';
}

function* linesReplaced(text: string, line: RegExp, replacement: string): Generator<string> {
  const lines = text.split(/\r?\n/);
  for (const [index, old] of lines.entries()) {
    if (line.test(old)) yield lines.with(index, old.replace(line, replacement)).join(endOfLine(text));
  }
}

function* linesFollowed(text: string, line: RegExp, addition: (indent: string) => string): Generator<string> {
  const lines = text.split(/\r?\n/);
  for (const [index, old] of lines.entries()) {
    const indent = line.exec(old)?.[1];
    if (indent !== undefined) yield lines.toSpliced(index + 1, 0, addition(indent)).join(endOfLine(text));
  }
}

/** Before a line and the comments that stand directly above it. */
function* linesPreceded(text: string, line: RegExp, addition: readonly string[]): Generator<string> {
  const lines = text.split(/\r?\n/);
  for (const [index, old] of lines.entries()) {
    if (!line.test(old)) continue;
    let at = index;
    while (at > 0 && /^\s*#/.test(lines[at - 1] ?? '')) at -= 1;
    yield lines.toSpliced(at, 0, ...addition).join(endOfLine(text));
  }
}

function appended(text: string, addition: readonly string[]): string {
  const end = endOfLine(text);
  const before = text === '' || text.endsWith('\n') ? text : text + end;
  return `${before}${before.trim() === '' ? '' : end}${addition.join(end)}${end}`;
}
