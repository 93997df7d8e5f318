/**
 * Pushes that are not yet blobs: one local file each, named by the upload's id, whatever store the
 * blob ends in. One writer an upload at a time; a restart finds the file, and goes on from its end.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '#durable';
import { asStoreError, BlobStoreError } from './errors.ts';
import type { BlobWriter, WriterOptions } from './port.ts';
import { createWriter, type WriterOwner } from './writer.ts';

const STALE_UPLOAD_MS = 7 * 24 * 3600 * 1000;

export interface Uploads {
  create(options?: WriterOptions): Promise<BlobWriter>;
  /** Undefined for an id that names no upload. */
  resume(id: string): Promise<BlobWriter | undefined>;
  /** Refuses new writers and lets go of those that are open. */
  close(): Promise<void>;
}

/** Opens the folder of uploads, made when it is missing, and removes what nobody went on with for a week. */
export async function openUploads(
  folder: string,
  owner: Omit<WriterOwner, 'ended' | 'syncName' | 'onGrowth'>,
): Promise<Uploads> {
  await mkdir(folder, { recursive: true, mode: 0o750 });
  await removeStale(folder);
  const writers = new Map<string, BlobWriter>();
  /** Writers that are being opened, by id. */
  const opening = new Map<string, Promise<BlobWriter | undefined>>();
  const ended = (id: string): void => void writers.delete(id);
  const syncName = (): Promise<void> => syncFolder(folder);
  let closed = false;

  async function openWriter(
    id: string,
    flags: 'wx+' | 'r+',
    { algorithm, onGrowth }: WriterOptions = {},
  ): Promise<BlobWriter> {
    const file = path.join(folder, id);
    const handle = await open(file, flags, 0o640);
    const { size } = await handle.stat().catch(async (error: unknown) => {
      await handle.close();
      throw error;
    });
    const writer = createWriter(id, file, handle, size, { ...owner, ended, syncName, onGrowth }, algorithm);
    writers.set(id, writer);
    return writer;
  }

  return {
    async create(options = {}) {
      if (closed) throw new BlobStoreError('closed');
      const id = randomUUID();
      return single(id, () => openWriter(id, 'wx+', options));
    },
    async resume(id) {
      if (closed) throw new BlobStoreError('closed');
      const running = writers.get(id) ?? opening.get(id);
      if (running !== undefined) return running;
      if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) return undefined;
      return single(id, () =>
        openWriter(id, 'r+').catch((error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOENT') return undefined;
          throw error;
        }),
      );
    },
    async close() {
      closed = true;
      await Promise.allSettled(opening.values());
      await Promise.all([...writers.values()].map((writer) => writer.close()));
    },
  };

  function single<W extends BlobWriter | undefined>(id: string, work: () => Promise<W>): Promise<W> {
    const running = work()
      .catch((error: unknown) => {
        throw asStoreError(error);
      })
      .finally(() => opening.delete(id));
    opening.set(id, running);
    return running;
  }
}

async function removeStale(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const { mtimeMs } = await stat(file);
    if (Date.now() - mtimeMs > STALE_UPLOAD_MS) await rm(file, { force: true, recursive: true });
  }
}
