/**
 * Set-up and its way back. A set-up is planned on the files as they were before an earlier one, so that running it again, with
 * the same or other registries, ends as if it were the first. What the operator changed since is never overwritten unasked.
 */
import { createTwoFilesPatch } from 'diff';
import { NodeSetupError } from './error.ts';
import type { Plan, View } from './plan.ts';
import { hashOf, type Manifest, openState, type State, type Written } from './state.ts';
import type { FileIdentity, Tree } from './tree.ts';

export interface Change {
  readonly path: string;
  /** undefined: there is no file. */
  readonly before: Buffer | undefined;
  readonly after: Buffer | undefined;
}

export interface Setup {
  readonly changes: readonly Change[];
  readonly notes: readonly string[];
  /** What makes the client read the changes; undefined: nothing is needed. */
  readonly restart: string | undefined;
  /** Writes the changes; each file whole, backups first. */
  apply(): Promise<void>;
}

const NEW_FILE: FileIdentity = {
  mode: 0o644,
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
};

/**
 * What a set-up of `subject` (whose files one manifest records) would change.
 * @throws NodeSetupError when a file of ours was changed since by somebody else, unless `force`
 */
export async function planSetup(options: {
  readonly tree: Tree;
  readonly subject: string;
  readonly plan: (view: View) => Promise<Plan>;
  readonly force?: boolean;
}): Promise<Setup> {
  const { tree, force = false } = options;
  const state = await openState(tree, options.subject);
  const known = new Map(state.manifest.files.map((entry) => [entry.path, entry]));
  const edited = new Set<string>();
  for (const entry of known.values()) {
    const now = await tree.read(entry.path);
    if (now !== undefined && !isOurs(entry, now) && hashOf(now) !== entry.original) edited.add(entry.path);
  }
  const view: View = {
    async text(file) {
      const entry = known.get(file);
      const bytes = entry && !edited.has(file) ? await state.original(entry) : await tree.read(file);
      return bytes && textOf(file, bytes);
    },
    async list(folder) {
      const names = await tree.list(folder);
      const visible = await Promise.all(
        names.map((name) => isVisible(tree, state.manifest, `${folder}/${name}`)),
      );
      return names.filter((_, index) => visible[index]);
    },
  };
  const plan = await options.plan(view);
  const notes = [...plan.notes];
  const changes: Change[] = [];
  const change = async (file: string, after: Buffer | undefined): Promise<void> => {
    const before = await tree.read(file);
    if (before === undefined ? after === undefined : after?.equals(before)) return;
    if (edited.has(file) && !force) {
      throw new NodeSetupError(
        `${file} was changed since it was set up: look at it with --dry-run --force, then use --force, or --undo first`,
      );
    }
    changes.push({ path: file, before, after });
  };
  for (const [file, text] of plan.files) await change(file, Buffer.from(text));
  for (const entry of known.values()) {
    if (plan.files.has(entry.path)) continue;
    // Planned with the operator's own text, which needs nothing more.
    if (!edited.has(entry.path)) await change(entry.path, await state.original(entry));
  }
  const unread = changes.some(({ path }) => plan.readAtStart(path));
  return {
    changes,
    notes,
    restart: unread ? plan.restart : undefined,
    apply: () => applySetup(tree, state, changes, new Set(plan.files.keys())),
  };
}

function isOurs(entry: Written, content: Buffer): boolean {
  return entry.written.includes(hashOf(content));
}

/** Whether a name was there before us: not a file or folder that only a set-up made. */
async function isVisible(tree: Tree, manifest: Manifest, name: string): Promise<boolean> {
  const entry = manifest.files.find(({ path }) => path === name);
  if (entry) {
    const now = await tree.read(name);
    return entry.original !== null || (now !== undefined && !isOurs(entry, now));
  }
  if (!manifest.folders.includes(name)) return true;
  const inside = await tree.list(name);
  const visible = await Promise.all(inside.map((inner) => isVisible(tree, manifest, `${name}/${inner}`)));
  return visible.includes(true);
}

/** A byte that is not UTF-8 would be lost by writing the text again. */
function textOf(file: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new NodeSetupError(`${file} is not UTF-8 text`);
  }
}

async function applySetup(
  tree: Tree,
  state: State,
  changes: readonly Change[],
  planned: ReadonlySet<string>,
): Promise<void> {
  if (changes.length === 0) return;
  const known = new Map(state.manifest.files.map((entry) => [entry.path, entry]));
  for (const { path, before, after } of changes) {
    const identity = await tree.identity(path);
    const entry = known.get(path);
    if (!entry && before) await state.keep(before);
    const { mode, uid, gid } = entry ?? identity ?? NEW_FILE;
    const original = entry ? entry.original : before ? hashOf(before) : null;
    const written = [...(entry?.written ?? []), ...(after ? [hashOf(after)] : [])];
    known.set(path, { path, original, mode, uid, gid, written: [...new Set(written)] });
  }
  const missing = await Promise.all(changes.map(({ path }) => tree.missingFolders(path)));
  const folders = [...new Set([...state.manifest.folders, ...missing.flat()])];
  await state.save({ version: 1, files: [...known.values()], folders });
  for (const { path, after } of changes) {
    const entry = known.get(path);
    if (after === undefined || !entry) {
      await tree.remove(path);
      continue;
    }
    await tree.write(path, after, (await tree.identity(path)) ?? entry);
  }
  // What went back to what it was is ours no longer; of the others only the newest content is.
  const files: Written[] = [];
  for (const entry of known.values()) {
    const now = await tree.read(entry.path);
    if (!planned.has(entry.path) && (now ? hashOf(now) : null) === entry.original) continue;
    files.push({ ...entry, written: now && isOurs(entry, now) ? [hashOf(now)] : entry.written });
  }
  if (files.length === 0) return void (await leave(tree, state, folders));
  for (const folder of folders.toReversed()) await tree.removeEmpty(folder);
  await state.save({ version: 1, files, folders });
}

/** Nothing of ours is left: neither the folders that were made nor the record of it. */
async function leave(tree: Tree, state: State, folders: readonly string[]): Promise<void> {
  for (const folder of folders.toReversed()) await tree.removeEmpty(folder);
  await state.forget();
}

export interface Undo {
  readonly changes: readonly Change[];
  /** Copies of what somebody else changed since, kept beside the restored files (only with `force`). */
  readonly saved: readonly string[];
  apply(): Promise<void>;
}

/**
 * What taking a set-up back would change: every file as before, to the byte, with mode and owner.
 * @throws NodeSetupError when one was changed since by somebody else, unless `force`
 */
export async function planUndo(tree: Tree, subject: string, force = false): Promise<Undo> {
  const state = await openState(tree, subject);
  const changes: Change[] = [];
  const edited: string[] = [];
  for (const entry of state.manifest.files) {
    const before = await tree.read(entry.path);
    const after = await state.original(entry);
    if (before === undefined ? after === undefined : after?.equals(before)) continue;
    // One that is gone was taken away by somebody: that is a change of theirs too.
    if (before === undefined || !isOurs(entry, before)) edited.push(entry.path);
    changes.push({ path: entry.path, before, after });
  }
  if (edited.length > 0 && !force) {
    throw new NodeSetupError(
      `${edited.join(', ')} ${edited.length > 1 ? 'were' : 'was'} changed since the set-up: ` +
        '--undo --force restores what was there before and keeps a copy of the changed file beside it',
    );
  }
  const saved = edited.filter((file) => changes.some(({ path, before }) => path === file && before));
  return {
    changes,
    saved: saved.map(savedName),
    async apply() {
      for (const { path, before, after } of changes) {
        const entry = state.manifest.files.find((file) => file.path === path);
        if (!entry) continue;
        if (saved.includes(path) && before) await tree.write(savedName(path), before, entry);
        if (after === undefined) await tree.remove(path);
        else await tree.write(path, after, entry);
      }
      await leave(tree, state, state.manifest.folders);
    },
  };
}

/** Not read by any client: none of them takes this ending. */
function savedName(file: string): string {
  return `${file}.shoal-saved`;
}

/** The changes as one unified diff. */
export function diffOf(changes: readonly Change[]): string {
  return changes
    .map(({ path, before, after }) =>
      createTwoFilesPatch(
        before === undefined ? '/dev/null' : path,
        after === undefined ? '/dev/null' : path,
        before?.toString('utf8') ?? '',
        after?.toString('utf8') ?? '',
        undefined,
        undefined,
        { headerOptions: { includeIndex: false, includeUnderline: false, includeFileHeaders: true } },
      ),
    )
    .join('');
}
