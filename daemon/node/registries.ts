/**
 * CRI-O and podman (containers/image): a drop-in of `registries.conf.d`, one `[[registry]]` an upstream, with the
 * agent as its first mirror.
 *
 * - Drop-ins are read in the order of their names, after registries.conf, and an entry replaces the whole entry of the same
 *   prefix that came before. So ours takes over what the node's own entry says, and must be the last.
 * - The longest matching prefix counts: the node's own narrower entries of a wanted registry get the mirror too.
 * - A mirror is asked for the path behind its location, without a namespace: it is `agent/registry/…`, where a port
 *   is written after an underscore. There is no entry that matches every registry.
 */
import path from 'node:path';
import { stringify, type TomlTable, type TomlValue } from 'smol-toml';
import { NodeSetupError } from './error.ts';
import type { Plan, View, Wanted } from './plan.ts';
import { isTable, parseToml, tableAt } from './toml.ts';

const MAIN = '/etc/containers/registries.conf';
const FOLDER = '/etc/containers/registries.conf.d';
/** The first that nothing comes after. */
const NAMES = ['50-shoal.conf', 'zz-shoal.conf', 'zzzz-shoal.conf'] as const;
/** Podman and CRI-O of one node share the file. */
const COMMENT = '# Written by `shoal node setup`, which takes it away again with --undo.';
/** What `all` means where the configuration names nothing else. */
const WELL_KNOWN = [
  'docker.io',
  'gcr.io',
  'ghcr.io',
  'mcr.microsoft.com',
  'public.ecr.aws',
  'quay.io',
  'registry.k8s.io',
] as const;

interface Entry {
  readonly file: string;
  readonly prefix: string;
  readonly table: TomlTable;
}

export async function planRegistries(view: View, client: 'crio' | 'podman', wanted: Wanted): Promise<Plan> {
  const notes: string[] = [];
  const { entries, named } = await readRegistries(view);
  const hosts =
    wanted.registries === 'all' ? [...new Set([...WELL_KNOWN, ...named])].sort() : wanted.registries;
  const relevant = [...entries.values()].filter(({ prefix }) => hosts.some((host) => covers(host, prefix)));
  const registry: TomlTable[] = [];
  for (const prefix of [...new Set([...hosts, ...relevant.map((entry) => entry.prefix)])].sort()) {
    const entry = entries.get(prefix);
    const table = withMirror(prefix, entry?.table ?? {}, wanted.agent);
    if (typeof table === 'string') notes.push(`${prefix} is not mirrored: ${table} in ${entry?.file}`);
    else registry.push(table);
  }
  const others = relevant
    .filter(({ file }) => file !== MAIN)
    .map(({ file }) => path.posix.basename(file))
    .filter((other) => !isOneOf(NAMES, other));
  const dropIns = await view.list(FOLDER);
  const present = NAMES.filter((candidate) => dropIns.includes(candidate));
  const name = [...present, ...NAMES].find((candidate) => others.every((other) => other < candidate));
  if (name === undefined) {
    throw new NodeSetupError(
      `${FOLDER}/${others.sort().at(-1)} is read after everything that this could write: give it an earlier name`,
    );
  }
  const file = path.posix.join(FOLDER, name);
  const text = `${COMMENT}\n${stringify({ registry })}`;
  if (wanted.registries === 'all') {
    notes.push(
      `no entry matches every registry: these are mirrored: ${hosts.join(', ')}. Name others with --registry`,
    );
  }
  const before = await view.text(file);
  return {
    files: new Map(before === text ? [] : [[file, text]]),
    notes,
    readAtStart: () => client === 'crio',
    restart: 'systemctl reload crio',
  };
}

/** The prefixes whose entry that counts has the agent as its first mirror. */
export async function mirroredBy(view: View, agent: string): Promise<string[]> {
  const { entries } = await readRegistries(view);
  const { host } = new URL(agent);
  return [...entries.values()]
    .filter(({ table }) => {
      const location = tables(table['mirror'])[0]?.['location'];
      return typeof location === 'string' && location.startsWith(`${host}/`);
    })
    .map(({ prefix }) => prefix);
}

/** The entries that count, by prefix, and every registry host that the configuration names. */
async function readRegistries(
  view: View,
): Promise<{ readonly entries: ReadonlyMap<string, Entry>; readonly named: readonly string[] }> {
  const entries = new Map<string, Entry>();
  const named: string[] = [];
  const dropIns = (await view.list(FOLDER)).filter((name) => name.endsWith('.conf'));
  for (const file of [MAIN, ...dropIns.map((name) => path.posix.join(FOLDER, name))]) {
    const text = await view.text(file);
    if (text === undefined) continue;
    const table = parseToml(file, text);
    if (tableAt(table, 'registries')) {
      throw new NodeSetupError(
        `${file} is in the old format ([registries.search] and so on): rewrite it with [[registry]] entries first`,
      );
    }
    for (const entry of tables(table['registry'])) {
      const prefix = entry['prefix'] || entry['location'];
      if (typeof prefix === 'string') entries.set(prefix, { file, prefix, table: entry });
    }
    const search = table['unqualified-search-registries'];
    if (Array.isArray(search)) named.push(...search.filter((host) => typeof host === 'string'));
    const aliases = Object.values(tableAt(table, 'aliases') ?? {});
    named.push(...aliases.flatMap((name) => (typeof name === 'string' ? [name.split('/')[0] ?? ''] : [])));
  }
  named.push(...[...entries.keys()].map((prefix) => prefix.split('/')[0] ?? ''));
  return { entries, named: named.filter((host) => host !== '' && !host.includes('*')) };
}

function isOneOf(names: readonly string[], name: string): boolean {
  return names.includes(name);
}

function tables(value: TomlValue | undefined): TomlTable[] {
  return Array.isArray(value) ? value.filter(isTable) : [];
}

/** Whether an entry of this prefix is about repositories of that host. */
function covers(host: string, prefix: string): boolean {
  return prefix === host || prefix.startsWith(`${host}/`);
}

/** The node's own entry with the agent as its first mirror; or why it must stay as it is. */
function withMirror(prefix: string, entry: TomlTable, agent: string): TomlTable | string {
  if (entry['blocked'] === true) return 'it is blocked';
  const location =
    typeof entry['location'] === 'string' && entry['location'] !== '' ? entry['location'] : prefix;
  const { host, protocol } = new URL(agent);
  const mine: TomlTable = { location: `${host}/${pathOf(location)}` };
  if (protocol === 'http:') mine['insecure'] = true;
  const mirrors = tables(entry['mirror']).filter(({ location: other }) => other !== mine['location']);
  return { prefix, ...entry, location, mirror: [mine, ...mirrors] };
}

/** A colon is no part of a path: the agent knows `host_port` as `host:port`. */
function pathOf(location: string): string {
  return location.replace(/^([^/]+):(\d+)/, '$1_$2');
}
