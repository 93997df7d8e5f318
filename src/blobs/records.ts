/**
 * The index of complete blobs: what a file looked like when its digest was last known to be right.
 * A file whose size, times or inode differ from its record is not believed until it was hashed again.
 */
import type { BigIntStats } from 'node:fs';
import type { Level } from 'level';
import { inBatches } from '#database';
import { type Digest, parseDigest } from '#oci';
import type { BlobInfo } from './port.ts';

export interface BlobRecord {
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly inode: bigint;
  readonly lastUsedAt: number;
  /** Its file is another program's, outside the store (sharing.ts). */
  readonly outside?: boolean;
}

export interface Records {
  get(digest: Digest): Promise<BlobRecord | undefined>;
  /** Durable when it resolves, unless it only notes a use. */
  put(digest: Digest, record: BlobRecord, options?: { readonly sync: boolean }): Promise<void>;
  delete(digest: Digest): Promise<void>;
  list(): AsyncIterable<BlobInfo>;
  /** The sizes of all blobs that are in the index when this is called, some at a time. */
  sizes(): AsyncIterable<readonly number[]>;
}

/** Five numbers of eight bytes: 100,000 of them are read at a start, and JSON takes twice the time. */
const encoding = {
  name: 'blob-record',
  format: 'view' as const,
  encode({ size, mtimeNs, ctimeNs, inode, lastUsedAt, outside }: BlobRecord): Uint8Array {
    const view = new DataView(new ArrayBuffer(outside ? OUTSIDE_BYTES : RECORD_BYTES));
    view.setFloat64(0, size);
    view.setFloat64(8, lastUsedAt);
    view.setBigInt64(16, mtimeNs);
    view.setBigInt64(24, ctimeNs);
    view.setBigUint64(32, inode);
    return new Uint8Array(view.buffer);
  },
  decode(bytes: Uint8Array): BlobRecord {
    // Another form is as good as no record: the file is hashed again.
    if (bytes.length !== RECORD_BYTES && bytes.length !== OUTSIDE_BYTES) return NOTHING_KNOWN;
    const view = viewOf(bytes);
    return {
      size: view.getFloat64(0),
      lastUsedAt: view.getFloat64(8),
      mtimeNs: view.getBigInt64(16),
      ctimeNs: view.getBigInt64(24),
      inode: view.getBigUint64(32),
      ...(bytes.length === OUTSIDE_BYTES && { outside: true }),
    };
  },
};
const RECORD_BYTES = 40;
/** One more says that the file is outside; such a blob takes nothing of our disk. */
const OUTSIDE_BYTES = 41;
const NOTHING_KNOWN: BlobRecord = { size: 0, mtimeNs: 0n, ctimeNs: 0n, inode: 0n, lastUsedAt: 0 };

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Resolves when the index can be read. */
export async function openRecords(level: Level<string, Uint8Array>): Promise<Records> {
  const records = level.sublevel<string, BlobRecord>('blobs', { valueEncoding: encoding });
  const raw = level.sublevel<string, Uint8Array>('blobs', { valueEncoding: 'view' });
  await Promise.all([records.open(), raw.open()]);
  return {
    get: (digest) => records.get(digest),
    put: (digest, record, { sync } = { sync: true }) =>
      level.batch<string, BlobRecord>([{ type: 'put', sublevel: records, key: digest, value: record }], {
        sync,
      }),
    delete: (digest) =>
      level.batch<string, BlobRecord>([{ type: 'del', sublevel: records, key: digest }], { sync: true }),
    async *list() {
      for await (const batch of inBatches(records.iterator())) {
        for (const [digest, { size, lastUsedAt, outside }] of batch) {
          yield { digest: parseDigest(digest), size, lastUsedAt, ...(outside && { outside }) };
        }
      }
    },
    sizes: () => sizesOf(inBatches(raw.values())),
  };
}

async function* sizesOf(batches: AsyncIterable<readonly Uint8Array[]>): AsyncGenerator<number[]> {
  for await (const batch of batches) {
    yield batch.map((bytes) => (bytes.length === RECORD_BYTES ? viewOf(bytes).getFloat64(0) : 0));
  }
}

/** The record of a file as it is now. */
export function recordOf(stats: BigIntStats, lastUsedAt: number): BlobRecord {
  return {
    size: Number(stats.size),
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
    inode: stats.ino,
    lastUsedAt,
  };
}

/** What the totals count of it. */
export function ownBytes(record: BlobRecord): number {
  return record.outside ? 0 : record.size;
}

/** Whether a file is still the one that was recorded. */
export function unchanged(record: BlobRecord, stats: BigIntStats): boolean {
  return (
    record.size === Number(stats.size) &&
    record.mtimeNs === stats.mtimeNs &&
    record.ctimeNs === stats.ctimeNs &&
    record.inode === stats.ino
  );
}
