/**
 * Where files lie, and how they get there durably:
 *
 *     sha256/<2 hex>/<hex>      complete blobs, read-only; sha512/ has those that were pushed by that digest
 *     partial/<hex>.data|.state downloads: sparse bytes, and one byte a piece; .link: see sharing.ts
 *     uploads/<id>              pushes that are not yet blobs (uploads.ts)
 *     quarantine/<hex>.<n>      files that changed behind our back
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '#durable';
import { type Digest, type DigestAlgorithm, digestAlgorithm, digestHex } from '#oci';

const ALGORITHMS = ['sha256', 'sha512'] as const satisfies readonly DigestAlgorithm[];

const LINKING = '.link';

export interface Layout {
  readonly root: string;
  blob(digest: Digest): string;
  partialData(digest: Digest): string;
  partialState(digest: Digest): string;
  /** A name for a link that becomes the blob; what a crash left of these is removed when the store opens. */
  linking(digest: Digest): string;
  /** Moves a finished file to its place; when this resolves the name survives a power cut. */
  place(from: string, digest: Digest): Promise<void>;
  setAside(digest: Digest): Promise<void>;
}

export async function openLayout(root: string): Promise<Layout> {
  for (const folder of [...ALGORITHMS, 'partial', 'quarantine']) {
    await mkdir(path.join(root, folder), { recursive: true, mode: 0o750 });
  }
  // A shard that an earlier run made may not have been synced before it was killed.
  const shards = new Set<string>();
  for (const algorithm of ALGORITHMS) {
    const folder = path.join(root, algorithm);
    await syncFolder(folder);
    for (const name of await readdir(folder)) shards.add(path.join(folder, name));
  }
  for (const name of await readdir(path.join(root, 'partial'))) {
    if (name.endsWith(LINKING)) await rm(path.join(root, 'partial', name), { force: true });
  }
  await syncFolder(root);
  const blob = (digest: Digest): string => {
    const hex = digestHex(digest);
    return path.join(root, digestAlgorithm(digest), hex.slice(0, 2), hex);
  };
  return {
    root,
    blob,
    partialData: (digest) => path.join(root, 'partial', `${digestHex(digest)}.data`),
    partialState: (digest) => path.join(root, 'partial', `${digestHex(digest)}.state`),
    linking: (digest) => path.join(root, 'partial', `${digestHex(digest)}${LINKING}`),
    async place(from, digest) {
      const target = blob(digest);
      const shard = path.dirname(target);
      if (!shards.has(shard)) {
        await mkdir(shard, { recursive: true, mode: 0o750 });
        await syncFolder(path.dirname(shard));
        shards.add(shard);
      }
      await rename(from, target);
      await syncFolder(shard);
    },
    async setAside(digest) {
      await rename(blob(digest), path.join(root, 'quarantine', `${digestHex(digest)}.${Date.now()}`));
    },
  };
}
