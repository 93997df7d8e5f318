/** Small files that must survive a crash and are nobody else's business. */
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/**
 * Writes the file with mode 0600, so that a crash leaves the old content or the new. With `exclusive` a file
 * that is there stays, and the answer is false.
 */
export async function writeDurably(
  file: string,
  text: string,
  { exclusive = false }: { readonly exclusive?: boolean } = {},
): Promise<boolean> {
  const folder = path.dirname(file);
  await mkdir(folder, { recursive: true });
  const partial = `${file}.${randomBytes(4).toString('hex')}`;
  try {
    const handle = await open(partial, 'wx', 0o600);
    try {
      await handle.writeFile(text);
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
  const directory = await open(folder);
  await directory.sync().finally(() => directory.close());
  return true;
}
