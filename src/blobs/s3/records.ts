/**
 * The index of blobs in the bucket: what an object looked like when its bytes were last known to be
 * right, and which objects are to go once nobody reads them.
 */
import type { Level } from 'level';
import { inBatches } from '#database';
import type { Digest } from '#oci';
import type { ObjectState } from './bucket.ts';

export interface ObjectRecord extends ObjectState {
  readonly lastUsedAt: number;
}

export interface ObjectRecords {
  get(digest: Digest): Promise<ObjectRecord | undefined>;
  /** Durable when it resolves, unless it only notes a use. */
  put(digest: Digest, record: ObjectRecord, options?: { readonly sync: boolean }): Promise<void>;
  delete(digest: Digest): Promise<void>;
  /** From here on it is not a blob; its object is still to be deleted. */
  doom(digest: Digest): Promise<void>;
  /** The object is gone, or a blob again. */
  undoom(digest: Digest): Promise<void>;
  doomed(): Promise<Digest[]>;
  /** The sizes of all blobs that are in the index when this is called, some at a time. */
  sizes(): AsyncIterable<readonly number[]>;
}

const HEAD_BYTES = 16;

/** Two numbers of eight bytes and the etag: all of them are read at a start. */
const encoding = {
  name: 's3-object-record',
  format: 'view' as const,
  encode({ size, lastUsedAt, etag }: ObjectRecord): Uint8Array {
    const bytes = Buffer.alloc(HEAD_BYTES + Buffer.byteLength(etag));
    bytes.writeDoubleBE(size, 0);
    bytes.writeDoubleBE(lastUsedAt, 8);
    bytes.write(etag, HEAD_BYTES);
    return bytes;
  },
  decode(view: Uint8Array): ObjectRecord {
    const bytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
    return {
      size: bytes.readDoubleBE(0),
      lastUsedAt: bytes.readDoubleBE(8),
      etag: bytes.toString('utf8', HEAD_BYTES),
    };
  },
};

/** Resolves when the index can be read. */
export async function openObjectRecords(level: Level<string, Uint8Array>): Promise<ObjectRecords> {
  const records = level.sublevel<string, ObjectRecord>('s3-blobs', { valueEncoding: encoding });
  const dooms = level.sublevel<string, string>('s3-doomed', { valueEncoding: 'utf8' });
  await Promise.all([records.open(), dooms.open()]);
  const write = (
    ...operations: Parameters<typeof level.batch<string, ObjectRecord | string>>[0]
  ): Promise<void> => level.batch(operations, { sync: true });
  return {
    get: (digest) => records.get(digest),
    put: (digest, record, { sync } = { sync: true }) =>
      level.batch<string, ObjectRecord>([{ type: 'put', sublevel: records, key: digest, value: record }], {
        sync,
      }),
    delete: (digest) => write({ type: 'del', sublevel: records, key: digest }),
    doom: (digest) =>
      write(
        { type: 'del', sublevel: records, key: digest },
        { type: 'put', sublevel: dooms, key: digest, value: '' },
      ),
    undoom: (digest) => write({ type: 'del', sublevel: dooms, key: digest }),
    doomed: async () => (await dooms.keys().all()) as Digest[],
    async *sizes() {
      for await (const batch of inBatches(records.values())) yield batch.map(({ size }) => size);
    },
  };
}
