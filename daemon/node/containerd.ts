/**
 * containerd: `config_path` in the plugin that pulls images, and a hosts.toml for each registry below it.
 *
 * - Configuration of version 3 (containerd 2) has the plugin `io.containerd.cri.v1.images`, version 2 (1.x and 2)
 *   `io.containerd.grpc.v1.cri`, version 1 `cri`. A file without a version is of version 1.
 * - `imports` are read after the file that names them, and a plugin's section in one file replaces the
 *   whole section of those before it: the last file that has the section is the one that counts.
 * - `config_path` may list folders, split by a colon. The first folder with one named for the registry, or `_default`, wins
 *   (`host_port_` is another spelling of `host:port`), so a `_default` of ours must not come before what others wrote.
 * - A registry's own folder hides `_default`. So hosts.toml files that are there get our host first.
 * - `registry.mirrors` and `config_path` exclude each other: containerd's CRI does not start with both.
 */
import path from 'node:path';
import type { TomlTable } from 'smol-toml';
import { NodeSetupError } from './error.ts';
import type { Plan, View, Wanted } from './plan.ts';
import { isTable, parseToml, tableAt, withConfigPath, withFirstHost } from './toml.ts';

const DEFAULT_FOLDER = '/etc/containerd/certs.d';
const COMMENT = '# Written by `shoal node setup containerd`, which takes it away again with --undo.';
/** What an empty configuration is begun with: containerd 1.3 and later, and 2.x, read it. */
const NEW_VERSION = 2;
const MAX_IMPORTS = 100;

interface ConfigFile {
  readonly file: string;
  readonly text: string;
  readonly table: TomlTable;
  readonly plugin: string;
}

export interface ContainerdConfig {
  /** The folders of `config_path`, in containerd's order; none when it is not set. */
  readonly folders: readonly string[];
  /** Where `config_path` is, or belongs. */
  readonly file: string;
}

/** Where this containerd looks for hosts.toml now. */
export async function containerdConfig(view: View, main: string): Promise<ContainerdConfig> {
  const files = await readConfig(view, main);
  const owner = ownerOf(files);
  return { folders: foldersOf(configPathIn(files)), file: owner?.file ?? main };
}

export async function planContainerd(view: View, main: string, wanted: Wanted): Promise<Plan> {
  const changed = new Map<string, string>();
  const notes: string[] = [];
  const files = await readConfig(view, main);
  const value = configPathIn(files) ?? DEFAULT_FOLDER;
  const folders = foldersOf(value);
  if (pathSetBy(ownerOf(files)) === undefined) {
    const { file, text } = setConfigPath(files, main, value);
    changed.set(file, text);
  }
  const targets = await hostsFiles(view, folders, wanted.registries, notes);
  for (const { file, base } of targets) {
    const before = await view.text(file);
    const text = before ?? base;
    if (text !== undefined) parseToml(file, text);
    const after = withFirstHost(text ?? `${COMMENT}\n`, wanted.agent);
    if (after === undefined) {
      notes.push(`${file} was left as it is: put [host."${wanted.agent}"] first in it by hand`);
    } else if (after !== before) {
      changed.set(file, after);
    }
  }
  return {
    files: changed,
    notes,
    readAtStart: (file) => !file.endsWith('/hosts.toml'),
    restart: 'systemctl restart containerd',
  };
}

/** The main file and what it imports, in the order in which containerd merges them. */
async function readConfig(view: View, main: string): Promise<readonly ConfigFile[]> {
  const found: ConfigFile[] = [];
  const queue = [main];
  let inherited = 0;
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    if (found.some((known) => known.file === file)) continue;
    if (found.length > MAX_IMPORTS)
      throw new NodeSetupError(`${main} imports more than ${MAX_IMPORTS} files`);
    const text = await view.text(file);
    if (text === undefined) continue;
    const table = parseToml(file, text);
    const version = Number(table['version'] ?? inherited);
    if (file === main) inherited = version;
    found.push({ file, text, table, plugin: pluginOf(version) });
    const { imports } = table;
    if (!Array.isArray(imports)) continue;
    for (const pattern of imports) {
      if (typeof pattern === 'string') queue.push(...(await matches(view, file, pattern)));
    }
  }
  return found;
}

function pluginOf(version: number): string {
  if (version >= 3) return 'io.containerd.cri.v1.images';
  return version === 2 ? 'io.containerd.grpc.v1.cri' : 'cri';
}

/** The files that an import names: a path, or a pattern in its last part, relative to the importing file. */
async function matches(view: View, from: string, pattern: string): Promise<string[]> {
  const whole = path.posix.resolve(path.posix.dirname(from), pattern);
  if (!/[*?[]/.test(whole)) return [whole];
  const folder = path.posix.dirname(whole);
  if (/[*?[]/.test(folder))
    throw new NodeSetupError(`${from}: the import '${pattern}' has a pattern in its folder`);
  const names = await view.list(folder);
  return names
    .map((name) => path.posix.join(folder, name))
    .filter((name) => path.posix.matchesGlob(name, whole));
}

/** The last file with the plugin's section. */
function ownerOf(files: readonly ConfigFile[]): ConfigFile | undefined {
  return files.findLast(({ table, plugin }) => tableAt(table, 'plugins', plugin));
}

function pathSetBy(file: ConfigFile | undefined): string | undefined {
  const value = file && tableAt(file.table, 'plugins', file.plugin, 'registry')?.['config_path'];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function configPathIn(files: readonly ConfigFile[]): string | undefined {
  return pathSetBy(files.findLast((file) => pathSetBy(file) !== undefined));
}

function foldersOf(value: string | undefined): readonly string[] {
  return (value ?? '').split(':').filter((folder) => folder !== '');
}

function setConfigPath(
  files: readonly ConfigFile[],
  main: string,
  value: string,
): { readonly file: string; readonly text: string } {
  const owner = ownerOf(files) ?? files.find(({ file }) => file === main);
  const file = owner?.file ?? main;
  const old = owner?.text ?? `${COMMENT}\n`;
  const hasVersion = files.some(({ table }) => table['version'] !== undefined);
  const hasPlugins = files.some(({ table }) => tableAt(table, 'plugins') !== undefined);
  const begun = !hasVersion && !hasPlugins;
  const plugin = begun ? pluginOf(NEW_VERSION) : (owner?.plugin ?? pluginOf(NEW_VERSION));
  const registry = owner && tableAt(owner.table, 'plugins', plugin, 'registry');
  const obstacle = registry && excludesConfigPath(registry);
  if (obstacle) {
    throw new NodeSetupError(
      `${file} sets ${obstacle}, with which containerd takes no config_path: ` +
        `move that to ${value}/<registry>/hosts.toml, take it out of this file, and run this again`,
    );
  }
  const text = withConfigPath(old, plugin, value, begun ? NEW_VERSION : undefined);
  if (text !== undefined) return { file, text };
  throw new NodeSetupError(
    `${file} cannot be changed safely: put config_path = "${value}" into ` +
      `[plugins."${plugin}".registry] by hand, and run this again`,
  );
}

/** What containerd refuses beside `config_path`. Empty tables, as `containerd config default` prints them, do no harm. */
function excludesConfigPath(registry: TomlTable): string | undefined {
  const { mirrors, configs } = registry;
  if (isTable(mirrors) && Object.keys(mirrors).length > 0) return 'registry.mirrors';
  const hasTls =
    isTable(configs) && Object.values(configs).some((host) => isTable(host) && isTable(host['tls']));
  return hasTls ? 'registry.configs with tls' : undefined;
}

/** The hosts.toml files that count for these registries, and with which text a new one begins. */
async function hostsFiles(
  view: View,
  folders: readonly string[],
  registries: Wanted['registries'],
  notes: string[],
): Promise<readonly { readonly file: string; readonly base: string | undefined }[]> {
  const existing: { readonly folder: string; readonly name: string }[] = [];
  for (const folder of folders) {
    for (const name of await view.list(folder)) existing.push({ folder, name });
  }
  const fileOf = ({ folder, name }: { folder: string; name: string }): string =>
    path.posix.join(folder, name, 'hosts.toml');
  const everybody = existing.find(({ name }) => name === '_default');
  const [first = DEFAULT_FOLDER] = folders;
  if (registries !== 'all') {
    const base = everybody && (await view.text(fileOf(everybody)));
    return registries.map((registry) => {
      const own = existing.find(({ name }) => name === registry || name === underscored(registry));
      return { file: fileOf(own ?? { folder: first, name: registry }), base: own ? undefined : base };
    });
  }
  const files = [];
  for (const entry of existing) {
    const file = fileOf(entry);
    const inside = await view.list(path.posix.join(entry.folder, entry.name));
    if (inside.includes('hosts.toml')) files.push({ file, base: undefined });
    else if (inside.length > 0 && entry !== everybody) {
      // containerd reads these only while there is no hosts.toml.
      notes.push(
        `${entry.name} is not mirrored: ${path.posix.dirname(file)} holds certificates without a hosts.toml; write one that names them`,
      );
    }
  }
  const last = folders.at(-1) ?? DEFAULT_FOLDER;
  if (!files.some(({ file }) => file.endsWith('/_default/hosts.toml'))) {
    files.push({ file: fileOf({ folder: last, name: '_default' }), base: undefined });
  }
  return files;
}

/** containerd's other name for the folder of a registry with a port. */
function underscored(registry: string): string {
  return `${registry.replace(':', '_')}_`;
}
