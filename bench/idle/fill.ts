/** A data folder of an agent with many small blobs in its cache, made by the agent's own rooms. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { openBlobStore } from '#blobs';
import { openDatabase } from '#database';
import { createHashing } from '#hashing';
import { toSha256Digest } from '#oci';
import { createLogger } from '#telemetry';
import { createMetainfo, openMetainfoCatalog } from '#torrent';

/** Enough that the database gathers many synced writes into one. */
const AT_ONCE = 256;

/**
 * Writes the files where the store keeps them; the store then finds each, hashes it and puts it
 * into its index, as it would after a crash between the two.
 */
export async function fillCache(data: string, blobs: number): Promise<void> {
  const root = path.join(data, 'blobs');
  await mkdir(data, { recursive: true });
  const log = createLogger({ program: 'bench', level: 'warn' });
  const db = await openDatabase(path.join(data, 'db'));
  const hashing = createHashing();
  const store = await openBlobStore({ root, level: db, hashing, log });
  const catalog = openMetainfoCatalog(db);
  for (let shard = 0; shard < 256; shard += 1) {
    await mkdir(path.join(root, 'sha256', shard.toString(16).padStart(2, '0')), { recursive: true });
  }
  const add = async (number: number): Promise<void> => {
    const bytes = Buffer.from(`blob ${number} of an idle cache\n`);
    const hex = createHash('sha256').update(bytes).digest('hex');
    const digest = toSha256Digest(hex);
    await writeFile(path.join(root, 'sha256', hex.slice(0, 2), hex), bytes, { mode: 0o440 });
    const pieces = createHash('sha1').update(bytes).digest();
    await catalog.put(createMetainfo({ digest, length: bytes.length, pieces }));
    if ((await store.stat(digest)) === undefined) throw new Error(`${digest} did not get into the store`);
  };
  for (let first = 0; first < blobs; first += AT_ONCE) {
    const count = Math.min(AT_ONCE, blobs - first);
    await Promise.all(Array.from({ length: count }, (_, index) => add(first + index)));
  }
  await store.close();
  await hashing.close();
  await db.close();
}
