/**
 * The index of complete blobs: what a file looked like when its sha256 was last known to be right.
 * A file whose size, times or inode differ from its record is not believed until it was hashed again.
 */
import type { BigIntStats } from 'node:fs';
import type { Level } from 'level';
import { type Digest, toSha256Digest } from '#oci';
import type { BlobInfo } from './port.ts';

export interface BlobRecord {
  readonly size: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
  readonly inode: string;
  readonly lastUsedAt: number;
}

export interface Records {
  get(digest: Digest): Promise<BlobRecord | undefined>;
  /** Durable when it resolves, unless it only notes a use. */
  put(digest: Digest, record: BlobRecord, options?: { readonly sync: boolean }): Promise<void>;
  delete(digest: Digest): Promise<void>;
  list(): AsyncIterable<BlobInfo>;
}

export function openRecords(level: Level<string, Uint8Array>): Records {
  const records = level.sublevel<string, BlobRecord>('blobs', { valueEncoding: 'json' });
  return {
    get: (digest) => records.get(digest),
    put: (digest, record, { sync } = { sync: true }) =>
      level.batch<string, BlobRecord>([{ type: 'put', sublevel: records, key: digest, value: record }], {
        sync,
      }),
    delete: (digest) =>
      level.batch<string, BlobRecord>([{ type: 'del', sublevel: records, key: digest }], { sync: true }),
    async *list() {
      for await (const [digest, { size, lastUsedAt }] of records.iterator()) {
        yield { digest: toSha256Digest(digest.slice('sha256:'.length)), size, lastUsedAt };
      }
    },
  };
}

/** The record of a file as it is now. */
export function recordOf(stats: BigIntStats, lastUsedAt: number): BlobRecord {
  return {
    size: Number(stats.size),
    mtimeNs: String(stats.mtimeNs),
    ctimeNs: String(stats.ctimeNs),
    inode: String(stats.ino),
    lastUsedAt,
  };
}

/** Whether a file is still the one that was recorded. */
export function unchanged(record: BlobRecord, stats: BigIntStats): boolean {
  const now = recordOf(stats, record.lastUsedAt);
  return (
    now.size === record.size &&
    now.mtimeNs === record.mtimeNs &&
    now.ctimeNs === record.ctimeNs &&
    now.inode === record.inode
  );
}
