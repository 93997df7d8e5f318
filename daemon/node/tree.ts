/**
 * The files of a node below a root folder: `/`, or that of an image. Paths are as the node sees them; symbolic links
 * are followed inside the root, never out of it. A file is replaced whole or not at all, with its mode and owner kept.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rename,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '#durable';
import { NodeSetupError } from './error.ts';

/** Configuration is far smaller; what is larger is no configuration. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const MAX_LINKS = 40;

export interface FileIdentity {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface Tree {
  readonly root: string;
  /** undefined when there is none. @throws NodeSetupError for what is no regular file, or too large */
  read(file: string): Promise<Buffer | undefined>;
  identity(file: string): Promise<FileIdentity | undefined>;
  /** The names in a folder, sorted; none when it is not there. */
  list(folder: string): Promise<readonly string[]>;
  /** Replaces or makes a file, and the folders above it. */
  write(file: string, content: Uint8Array, identity: FileIdentity): Promise<void>;
  /** The folders that writing this file would make, outermost first. */
  missingFolders(file: string): Promise<readonly string[]>;
  remove(file: string): Promise<void>;
  /** Removes a folder that is empty. */
  removeEmpty(folder: string): Promise<void>;
}

export function openTree(root: string): Tree {
  const base = path.resolve(root);
  const host = (inside: string): Promise<string> => resolveInside(base, inside);

  return {
    root: base,
    async read(file) {
      const at = await host(file);
      // Not blocked by a pipe that lies where a file should be.
      const handle = await open(at, constants.O_RDONLY | constants.O_NONBLOCK).catch(unlessAbsent);
      if (handle === undefined) return undefined;
      try {
        const info = await handle.stat();
        if (!info.isFile()) throw new NodeSetupError(`${file} is not a file`);
        if (info.size > MAX_FILE_BYTES) {
          throw new NodeSetupError(`${file} has ${info.size} bytes: too large for a configuration file`);
        }
        return await handle.readFile();
      } finally {
        await handle.close();
      }
    },
    async identity(file) {
      const info = await stat(await host(file)).catch(unlessAbsent);
      return info && { mode: info.mode & 0o7777, uid: info.uid, gid: info.gid };
    },
    async list(folder) {
      const names = await readdir(await host(folder)).catch(unlessAbsent);
      return (names ?? []).sort();
    },
    async write(file, content, identity) {
      const at = await host(file);
      await makeFolders(base, path.dirname(at));
      const temporary = `${at}.shoal-${randomBytes(6).toString('hex')}`;
      try {
        const handle = await open(temporary, 'wx', 0o600);
        try {
          await handle.writeFile(content);
          await handle.chmod(identity.mode);
          const { uid, gid } = await handle.stat();
          if (uid !== identity.uid || gid !== identity.gid) await handle.chown(identity.uid, identity.gid);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(temporary, at);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
      await syncFolder(path.dirname(at));
    },
    async missingFolders(file) {
      const missing: string[] = [];
      for (let at = path.dirname(await host(file)); at !== base; at = path.dirname(at)) {
        if (await stat(at).catch(unlessAbsent)) break;
        missing.unshift(`/${path.relative(base, at)}`);
      }
      return missing;
    },
    async remove(file) {
      const at = await host(file);
      await rm(at, { force: true });
      await syncFolder(path.dirname(at));
    },
    async removeEmpty(folder) {
      await rmdir(await host(folder)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') unlessAbsent(error);
      });
    },
  };
}

function unlessAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}

/** Follows links as a process whose root folder is `base` would: `..` and absolute targets stay inside. */
async function resolveInside(base: string, inside: string): Promise<string> {
  const rest = path.posix.normalize(`/${inside}`).split('/').filter(Boolean);
  const done: string[] = [];
  let links = 0;
  while (rest.length > 0) {
    const name = rest.shift() ?? '';
    if (name === '..') {
      done.pop();
      continue;
    }
    const at = path.join(base, ...done, name);
    const info = await lstat(at).catch(unlessAbsent);
    if (!info?.isSymbolicLink()) {
      done.push(name);
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) throw new NodeSetupError(`${inside}: too many symbolic links`);
    const target = await readlink(at);
    if (target.startsWith('/')) done.length = 0;
    rest.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
  }
  return path.join(base, ...done);
}

async function makeFolders(base: string, folder: string): Promise<void> {
  if (folder === base || (await stat(folder).catch(unlessAbsent))) return;
  await makeFolders(base, path.dirname(folder));
  await mkdir(folder);
  await chmod(folder, 0o755);
  const parent = await stat(path.dirname(folder));
  if (parent.uid !== process.getuid?.()) await chown(folder, parent.uid, parent.gid);
  await syncFolder(path.dirname(folder));
}
