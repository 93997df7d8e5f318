/**
 * Where files lie, and how they get there durably:
 *
 *     sha256/<2 hex>/<hex>      complete blobs, read-only
 *     partial/<hex>.data|.state downloads: sparse bytes, and one byte a piece
 *     uploads/<id>              pushes that are not yet blobs
 *     quarantine/<hex>.<n>      files that changed behind our back
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { type Digest, digestHex } from '#oci';

const STALE_UPLOAD_MS = 7 * 24 * 3600 * 1000;

export interface Layout {
  readonly root: string;
  blob(digest: Digest): string;
  partialData(digest: Digest): string;
  partialState(digest: Digest): string;
  /** Undefined for an id that this store never gave. */
  upload(id: string): string | undefined;
  newUploadId(): string;
  /** Moves a finished file to its place; when this resolves the name survives a power cut. */
  place(from: string, digest: Digest): Promise<void>;
  setAside(digest: Digest): Promise<void>;
}

export async function openLayout(root: string): Promise<Layout> {
  for (const folder of ['sha256', 'partial', 'uploads', 'quarantine']) {
    await mkdir(path.join(root, folder), { recursive: true, mode: 0o750 });
  }
  // A shard that an earlier run made may not have been synced before it was killed.
  for (const folder of [path.join(root, 'sha256'), root]) await syncFolder(folder);
  await removeStaleUploads(path.join(root, 'uploads'));
  const shards = new Set(await readdir(path.join(root, 'sha256')));
  const blob = (digest: Digest): string => {
    const hex = digestHex(digest);
    return path.join(root, 'sha256', hex.slice(0, 2), hex);
  };
  return {
    root,
    blob,
    partialData: (digest) => path.join(root, 'partial', `${digestHex(digest)}.data`),
    partialState: (digest) => path.join(root, 'partial', `${digestHex(digest)}.state`),
    upload: (id) =>
      /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id) ? path.join(root, 'uploads', id) : undefined,
    newUploadId: randomUUID,
    async place(from, digest) {
      const target = blob(digest);
      const shard = path.dirname(target);
      const name = path.basename(shard);
      if (!shards.has(name)) {
        await mkdir(shard, { recursive: true, mode: 0o750 });
        await syncFolder(path.dirname(shard));
        shards.add(name);
      }
      await rename(from, target);
      await syncFolder(shard);
    },
    async setAside(digest) {
      await rename(blob(digest), path.join(root, 'quarantine', `${digestHex(digest)}.${Date.now()}`));
    },
  };
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function removeStaleUploads(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const { mtimeMs } = await stat(file);
    if (Date.now() - mtimeMs > STALE_UPLOAD_MS) await rm(file, { force: true, recursive: true });
  }
}
