/**
 * What a set-up wrote, and the files as they were: `manifest.json` and numbered backups in a folder of root's own.
 * It is not below the agent's data: what root restores must not be writable by the agent's user.
 *
 * The manifest and the backups are on the disk before a file is changed, and name each content that the
 * file may then have, so that a set-up that was killed half-way can be run again or taken back.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import { NodeSetupError } from './error.ts';
import type { FileIdentity, Tree } from './tree.ts';

/** Not /var/lib/shoal, which belongs to the agent's user. */
const HOME = '/var/lib/shoal-node';
const PRIVATE: FileIdentity = { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const schema = z.object({
  version: z.literal(1),
  files: z.array(
    z.object({
      path: z.string().startsWith('/'),
      /** Its content before the first set-up; null: there was no file. */
      original: hash.nullable(),
      mode: z.int().min(0).max(0o7777),
      uid: z.int().min(0),
      gid: z.int().min(0),
      /** The contents that a set-up of ours left, or was about to leave. */
      written: z.array(hash),
    }),
  ),
  /** Folders that were made, outermost first. */
  folders: z.array(z.string().startsWith('/')),
});

export type Manifest = z.infer<typeof schema>;
export type Written = Manifest['files'][number];

export interface State {
  readonly manifest: Manifest;
  /** The bytes of a file before the first set-up; undefined: there was none. @throws NodeSetupError when the backup is damaged */
  original(entry: Written): Promise<Buffer | undefined>;
  keep(content: Uint8Array): Promise<void>;
  save(manifest: Manifest): Promise<void>;
  /** Takes away manifest and backups. */
  forget(): Promise<void>;
}

export function hashOf(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

export async function openState(tree: Tree, subject: string): Promise<State> {
  const folder = path.posix.join(HOME, subject);
  const file = path.posix.join(folder, 'manifest.json');
  const backup = (name: string): string => path.posix.join(folder, `${name}.before`);
  const bytes = await tree.read(file);
  const manifest = bytes === undefined ? { version: 1 as const, files: [], folders: [] } : read(file, bytes);
  return {
    manifest,
    async original(entry) {
      if (entry.original === null) return undefined;
      const content = await tree.read(backup(entry.original));
      if (content !== undefined && hashOf(content) === entry.original) return content;
      throw new NodeSetupError(
        `the backup of ${entry.path}, ${backup(entry.original)}, is missing or damaged`,
      );
    },
    async keep(content) {
      await tree.write(backup(hashOf(content)), content, PRIVATE);
    },
    async save(next) {
      await tree.write(file, Buffer.from(`${JSON.stringify(next, null, 2)}\n`), PRIVATE);
    },
    async forget() {
      // The manifest first: backups without one are of no meaning.
      await tree.remove(file);
      for (const name of await tree.list(folder)) {
        if (name.endsWith('.before')) await tree.remove(path.posix.join(folder, name));
      }
      await tree.removeEmpty(folder);
      await tree.removeEmpty(HOME);
    },
  };
}

function read(file: string, bytes: Buffer): Manifest {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch {
    throw new NodeSetupError(
      `${file} cannot be read: put the *.before files beside it back by hand, and remove the folder`,
    );
  }
}
