/**
 * One copy on disk: a complete blob whose bytes another program keeps too, in a file of its own. Where both are on one
 * file system our file becomes a hard link to that one, and outlives it. Elsewhere our file goes, and the blob is read from the other
 * while it exists. The other file is only believed once all of it was hashed, and is never changed.
 */
import { constants } from 'node:fs';
import { link, open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '#durable';
import type { Hashing } from '#hashing';
import { type Digest, digestAlgorithm, digestHex } from '#oci';
import type { Logger } from '#telemetry';
import type { Layout } from './layout.ts';
import type { SharedAs } from './port.ts';
import { type BlobRecord, type Records, recordOf, unchanged } from './records.ts';

/** What cannot be linked: another file system, no right to, as many links as a file may have. */
const NOT_LINKABLE: ReadonlySet<string> = new Set(['EXDEV', 'EPERM', 'EACCES', 'EMLINK', 'ENOTSUP']);

export interface Sharing {
  share(digest: Digest, mayBorrow: boolean): Promise<SharedAs>;
}

export function createSharing(options: {
  readonly layout: Layout;
  readonly records: Records;
  readonly hashing: Hashing;
  /** Where the other program has this blob, if it has it. */
  readonly outside: (digest: Digest) => string;
  readonly inTurn: <T>(digest: Digest, work: () => Promise<T>) => Promise<T>;
  /** The record of a blob whose file is as it was recorded. */
  readonly asRecorded: (digest: Digest) => Promise<BlobRecord | undefined>;
  /** Our file is gone, so many bytes less. */
  readonly onBorrowed: (bytes: number) => void;
  readonly log: Logger;
}): Sharing {
  const { layout, records, hashing, log } = options;

  /** The other file as it is now: an ordinary one of this size, that can be read. */
  async function look(file: string, size: number): Promise<BlobRecord | undefined> {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined);
    if (!handle) return undefined;
    try {
      const stats = await handle.stat({ bigint: true });
      return stats.isFile() && Number(stats.size) === size ? recordOf(stats, 0) : undefined;
    } finally {
      await handle.close();
    }
  }

  /** Our name for the other file. False: it cannot be linked. 'gone': it is not the file any more that was hashed. */
  async function linkTo(file: string, digest: Digest, seen: BlobRecord): Promise<boolean | 'gone'> {
    const name = layout.linking(digest);
    try {
      await rm(name, { force: true });
      await link(file, name);
      const linked = await stat(name, { bigint: true });
      // Linking changes the time of the inode's last change, and nothing else.
      if (!unchanged({ ...seen, ctimeNs: linked.ctimeNs }, linked)) return 'gone';
      const target = layout.blob(digest);
      await rename(name, target);
      await syncFolder(path.dirname(target));
      return true;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      if (code === 'ENOENT') return 'gone';
      if (NOT_LINKABLE.has(code)) return false;
      throw error;
    } finally {
      await rm(name, { force: true });
    }
  }

  return {
    async share(digest, mayBorrow) {
      const file = options.outside(digest);
      const own = await options.asRecorded(digest);
      if (!own) return 'not-here';
      if (own.outside) return 'borrowed';
      const seen = await look(file, own.size);
      if (!seen) return 'no-other';
      const ours = await stat(layout.blob(digest), { bigint: true }).catch(() => undefined);
      const other = await stat(file, { bigint: true }).catch(() => undefined);
      if (ours && other && ours.dev === other.dev && ours.ino === other.ino) return 'linked';
      const actual = await hashing.digestFile(file, digestAlgorithm(digest)).catch(() => undefined);
      if (actual === undefined) return 'no-other';
      if (actual !== digestHex(digest)) {
        log.warn({ digest, actual }, 'the other copy of a blob is damaged; ours is kept');
        return 'no-other';
      }
      return options.inTurn(digest, async () => {
        const still = await stat(file, { bigint: true }).catch(() => undefined);
        const record = await options.asRecorded(digest);
        if (!record || record.outside) return 'not-here';
        if (!still || !unchanged(seen, still)) return 'no-other';
        const linked = await linkTo(file, digest, seen);
        if (linked === 'gone') return 'no-other';
        if (linked) {
          const now = await stat(layout.blob(digest), { bigint: true });
          await records.put(digest, recordOf(now, record.lastUsedAt));
          return 'linked';
        }
        if (!mayBorrow) return 'no-other';
        // Killed in between, the blob is not here any more, and is fetched again when somebody asks.
        await rm(layout.blob(digest), { force: true });
        await records.put(digest, { ...seen, lastUsedAt: record.lastUsedAt, outside: true });
        options.onBorrowed(record.size);
        return 'borrowed';
      });
    },
  };
}
