/**
 * The store itself: complete blobs, and the way in for uploads and downloads. For one digest at a
 * time only one file is adopted, verified or deleted, so that index and files agree.
 */
import type { BigIntStats } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Level } from 'level';
import type { Hashing } from '#hashing';
import { type Digest, digestAlgorithm, digestHex } from '#oci';
import type { Logger } from '#telemetry';
import { asStoreError, BlobStoreError } from './errors.ts';
import { openLayout } from './layout.ts';
import { openPartial } from './partial.ts';
import type { BlobInfo, DownloadStore } from './port.ts';
import { createReader } from './reader.ts';
import { type BlobRecord, openRecords, ownBytes, recordOf, unchanged } from './records.ts';
import { createSharing } from './sharing.ts';
import { createTotals } from './totals.ts';
import { createTurns } from './turns.ts';
import { openUploads } from './uploads.ts';

/** How exact `lastUsedAt` is: a busy blob costs one index write a minute. */
const USE_RESOLUTION_MS = 60_000;

/** Opens the store in the folder `root`, made when it is missing. Counts what is in the index afterwards; reads no blob. */
export async function openBlobStore(options: {
  readonly root: string;
  readonly level: Level<string, Uint8Array>;
  readonly hashing: Hashing;
  /** Where another program may have a copy of a blob that is here. */
  readonly outside?: ((digest: Digest) => string) | undefined;
  readonly log: Logger;
}): Promise<DownloadStore> {
  const { hashing, log } = options;
  const layout = await openLayout(options.root);
  const records = await openRecords(options.level);
  const partials = new Set<Digest>();
  const turns = createTurns();
  const inTurn = turns.run;
  let closed = false;
  const totals = createTotals(records.sizes(), { isClosed: () => closed, log });

  const adopt = (from: string, handle: FileHandle, digest: Digest, size: number): Promise<BlobInfo> =>
    inTurn(digest, async () => {
      const present = await trusted(digest);
      if (present) {
        await present.handle.close();
        await rm(from, { force: true });
        return { digest, size, lastUsedAt: present.record.lastUsedAt };
      }
      try {
        await handle.chmod(0o440);
        await handle.datasync();
        // Killed behind the rename, a file that no record tells of would be on the disk and not be counted.
        // When it cannot be written now, neither can the one below, which says so.
        const early = recordOf(await handle.stat({ bigint: true }), Date.now());
        await records.put(digest, early, { sync: false }).catch(() => undefined);
        await layout.place(from, digest);
      } catch (error) {
        await records.delete(digest).catch(() => undefined);
        throw asStoreError(error);
      }
      const record = recordOf(await handle.stat({ bigint: true }), Date.now());
      await records.put(digest, record);
      totals.added(size);
      return { digest, size, lastUsedAt: record.lastUsedAt };
    });

  /** An open, unchanged file and its record. A file that changed is hashed again, and set aside when it is wrong. */
  async function trusted(digest: Digest): Promise<{ handle: FileHandle; record: BlobRecord } | undefined> {
    const record = await records.get(digest);
    const file = fileOf(digest, record);
    const handle = await open(file, 'r').catch((error: NodeJS.ErrnoException) => {
      // What another program does with its files is no fault here: the blob is not to be had there any more.
      if (error.code === 'ENOENT' || record?.outside) return undefined;
      throw error;
    });
    if (!handle) {
      if (record) await forget(digest, record);
      return undefined;
    }
    try {
      const stats = await handle.stat({ bigint: true });
      if (record && unchanged(record, stats)) return { handle, record };
      let fresh = asFound(stats, record);
      let actual = await hashing.digestFile(file, digestAlgorithm(digest));
      let still = await handle.stat({ bigint: true });
      // A link that came or went meanwhile touches a good file too: then it is hashed once more.
      if (actual === digestHex(digest) && !unchanged(fresh, still)) {
        fresh = asFound(still, record);
        actual = await hashing.digestFile(file, digestAlgorithm(digest)).catch(() => '');
        still = await handle.stat({ bigint: true });
      }
      if (actual === digestHex(digest) && unchanged(fresh, still)) {
        await records.put(digest, fresh);
        if (record) totals.removed(ownBytes(record));
        totals.added(ownBytes(fresh));
        log.info(
          { digest },
          record ? 'a blob file was touched but is unchanged' : 'found a blob that the index lacked',
        );
        return { handle, record: fresh };
      }
      log.warn({ digest, actual }, 'a blob file changed on disk; it is set aside');
      if (!record?.outside) await layout.setAside(digest);
      if (record) await forget(digest, record);
    } catch (error) {
      await handle.close();
      throw error;
    }
    await handle.close();
    return undefined;
  }

  const asFound = (stats: BigIntStats, record: BlobRecord | undefined): BlobRecord => ({
    ...recordOf(stats, record?.lastUsedAt ?? Date.now()),
    ...(record?.outside && { outside: true }),
  });

  async function forget(digest: Digest, record: BlobRecord): Promise<void> {
    await records.delete(digest);
    totals.removed(ownBytes(record));
  }

  function fileOf(digest: Digest, record: BlobRecord | undefined): string {
    return record?.outside && options.outside ? options.outside(digest) : layout.blob(digest);
  }

  /** Only a hint for eviction: a full disk must not keep a good blob from being read. */
  async function noteUse(digest: Digest, record: BlobRecord): Promise<void> {
    const now = Date.now();
    if (now - record.lastUsedAt < USE_RESOLUTION_MS) return;
    try {
      await records.put(digest, { ...record, lastUsedAt: now }, { sync: false });
    } catch (error) {
      log.warn({ digest, err: error }, 'the use of a blob was not recorded');
    }
  }

  /** The record of a blob whose file is as it was recorded; no word on any other. */
  async function asRecorded(digest: Digest): Promise<BlobRecord | undefined> {
    const record = await records.get(digest);
    const stats = record && (await stat(fileOf(digest, record), { bigint: true }).catch(() => undefined));
    return stats && unchanged(record, stats) ? record : undefined;
  }

  const uploads = await openUploads(path.join(layout.root, 'uploads'), { hashing, adopt });

  const verify = (digest: Digest): Promise<'good' | 'damaged' | 'missing'> =>
    inTurn(digest, async () => {
      const before = fileOf(digest, await records.get(digest));
      const isThere = await stat(before).then(
        () => true,
        () => false,
      );
      const found = await trusted(digest);
      if (!found) return isThere ? 'damaged' : 'missing';
      await found.handle.close();
      const file = fileOf(digest, found.record);
      const actual = await hashing.digestFile(file, digestAlgorithm(digest));
      if (actual === digestHex(digest)) return 'good';
      log.error({ digest, actual }, 'a blob file is damaged; it is set aside');
      if (!found.record.outside) await layout.setAside(digest);
      await forget(digest, found.record);
      return 'damaged';
    });

  const sharing =
    options.outside &&
    createSharing({
      ...{ layout, records, hashing, outside: options.outside, inTurn, asRecorded, log },
      onBorrowed(bytes) {
        totals.removed(bytes);
        totals.added(0);
      },
    });

  return {
    open: (digest) =>
      inTurn(digest, async () => {
        const found = await trusted(digest);
        if (!found) return undefined;
        await noteUse(digest, found.record);
        return createReader(digest, found.record.size, found.handle);
      }),
    async stat(digest) {
      const known = await asRecorded(digest);
      if (known) return { digest, size: known.size, lastUsedAt: known.lastUsedAt };
      return inTurn(digest, async () => {
        const found = await trusted(digest);
        await found?.handle.close();
        return found && { digest, size: found.record.size, lastUsedAt: found.record.lastUsedAt };
      });
    },
    async hashPieces(digest, pieceLength) {
      const found = await inTurn(digest, () => trusted(digest));
      if (!found) return undefined;
      try {
        return await hashing.hashPieces(fileOf(digest, found.record), pieceLength);
      } finally {
        await found.handle.close();
      }
    },
    async hashLeaves(digest, leafLength) {
      const found = await inTurn(digest, () => trusted(digest));
      if (!found) return undefined;
      try {
        const file = fileOf(digest, found.record);
        const leaves = await hashing.hashLeaves(file, leafLength, digestAlgorithm(digest));
        if (leaves.digest === digestHex(digest)) return leaves.hashes;
      } finally {
        await found.handle.close();
      }
      await verify(digest);
      return undefined;
    },
    verify,
    list: records.list,
    totals: totals.now,
    counted: totals.counted,
    delete: (digest) =>
      inTurn(digest, async () => {
        const record = await records.get(digest);
        await rm(layout.blob(digest), { force: true });
        if (record) await forget(digest, record);
      }),
    createWriter: uploads.create,
    resumeWriter: uploads.resume,
    async openPartial(metainfo) {
      const { digest } = metainfo;
      if (closed) throw new BlobStoreError('closed');
      if (partials.has(digest)) throw new BlobStoreError('busy');
      partials.add(digest);
      try {
        return await openPartial(metainfo, {
          layout,
          hashing,
          adopt,
          ended: (ended) => void partials.delete(ended),
        });
      } catch (error) {
        partials.delete(digest);
        throw error;
      }
    },
    share: async (digest, mayBorrow) => sharing?.share(digest, mayBorrow) ?? 'no-other',
    async partialBytes(digest) {
      const stats = await stat(layout.partialData(digest)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      return stats === undefined ? 0 : stats.blocks * 512;
    },
    async close() {
      closed = true;
      await totals.counted;
      await turns.close();
      await uploads.close();
    },
  };
}
