/** Small files that must survive a crash: written whole, synced, and named by a folder that is synced too. */
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/**
 * Writes the file so that a crash leaves the old content or the new; folders above it are made. With
 * `exclusive` a file that is there stays, and the answer is false.
 */
export async function writeDurably(
  file: string,
  content: string | Uint8Array,
  {
    exclusive = false,
    mode = 0o600,
  }: {
    readonly exclusive?: boolean /** Default 0600: nobody else's business. */;
    readonly mode?: number;
  } = {},
): Promise<boolean> {
  const folder = path.dirname(file);
  await mkdir(folder, { recursive: true });
  const partial = `${file}.${randomBytes(4).toString('hex')}`;
  try {
    const handle = await open(partial, 'wx', mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // Unlike a rename, a link fails when the name is taken.
    await (exclusive ? link(partial, file) : rename(partial, file));
  } catch (error) {
    if (exclusive && (error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(partial, { force: true });
  }
  await syncFolder(folder);
  return true;
}

/** Makes the names in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
