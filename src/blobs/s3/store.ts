/**
 * Blobs in an S3 bucket, one origin's own below its prefix:
 *
 *     <prefix>/sha256/<2 hex>/<hex>   complete blobs, in the layout of the file store; sha512/ likewise
 *     <prefix>/shoal-origin.json      whose they are (owner.ts)
 *     <prefix>/quarantine/<hex>.<n>   objects that changed behind our back
 *
 * A push is received into a local file and hashed as everywhere; its digest known to be right, it
 * goes to its final key, where it appears at once and whole. So there is nothing half-written in the
 * bucket but the parts of an upload that was cut off, and these are aborted at the next start.
 */
import { type FileHandle, rm } from 'node:fs/promises';
import type { Level } from 'level';
import type { Hashing } from '#hashing';
import { type Digest, digestHex, parseDigest } from '#oci';
import type { Logger } from '#telemetry';
import { pieceLengthFor } from '#torrent';
import type { BlobInfo, BlobStore } from '../port.ts';
import { createTotals } from '../totals.ts';
import { createTurns } from '../turns.ts';
import { openUploads } from '../uploads.ts';
import { type ObjectState, openBucket, type S3Options } from './bucket.ts';
import { createChunks } from './chunks.ts';
import { hashOf, hashPieces } from './hashing.ts';
import { createConfirmed, createKnownPieces } from './memory.ts';
import { claimPlace } from './owner.ts';
import { readRange } from './ranges.ts';
import { createReader } from './reader.ts';
import { type ObjectRecord, openObjectRecords } from './records.ts';
import { createUploader } from './upload.ts';

/** How exact `lastUsedAt` is: a busy blob costs one index write a minute. */
const USE_RESOLUTION_MS = 60_000;
/** Where complete blobs are, by algorithm, and how their objects are called there. */
const FOLDERS = [
  { algorithm: 'sha256', name: /^[0-9a-f]{64}$/ },
  { algorithm: 'sha512', name: /^[0-9a-f]{128}$/ },
] as const;
/** The largest object that S3 copies in one request. */
const MAX_COPY_BYTES = 5 * 1024 ** 3;

/**
 * Opens the store: `uploads` is the local folder of pushes. Asks the bucket once, so that a wrong
 * name, place or credential is told at the start; counts what is in the index afterwards.
 * @throws BlobStoreError 'unavailable' with what to mend
 */
export async function openS3BlobStore(options: {
  readonly uploads: string;
  readonly s3: S3Options;
  readonly level: Level<string, Uint8Array>;
  readonly hashing: Hashing;
  readonly log: Logger;
}): Promise<BlobStore> {
  const { hashing, log, s3 } = options;
  const base = s3.prefix === '' ? '' : `${s3.prefix}/`;
  const keyOf = (digest: Digest): string => {
    const [algorithm, hex = ''] = digest.split(':');
    return `${base}${algorithm}/${hex.slice(0, 2)}/${hex}`;
  };
  const records = await openObjectRecords(options.level);
  const bucket = await openBucket(s3);
  const closing = new AbortController();
  const uploader = createUploader(bucket, s3.partBytes, closing.signal);
  const chunks = createChunks(bucket, s3.cacheBytes);
  const confirmed = createConfirmed();
  const knownPieces = createKnownPieces();
  const turns = createTurns();
  /** Open readers by digest. */
  const readers = new Map<Digest, number>();
  /** No blobs any more, but their objects are there still: the last reader takes them along, or the next start. */
  const doomed = new Map<Digest, ObjectState | undefined>();

  /**
   * Asks the bucket, sees that it is ours, and learns what an earlier run left: uploads, of which none
   * can be in flight yet, and objects of deleted blobs, which are no blobs from the first request on.
   */
  async function prepare(): Promise<{ key: string; id: string }[]> {
    const found = [];
    for (const { algorithm } of FOLDERS) {
      for await (const upload of bucket.unfinishedParts(`${base}${algorithm}/`)) found.push(upload);
    }
    const where = `the bucket ${s3.bucket}${base === '' ? '' : ` below ${base}`}`;
    await claimPlace(bucket, base, where, options.level);
    for (const digest of await records.doomed()) {
      // Killed in the middle of becoming a blob again: the record is what counts.
      if ((await records.get(digest)) === undefined) doomed.set(digest, undefined);
      else await records.undoom(digest);
    }
    return found;
  }

  async function tidy(cutOff: readonly { key: string; id: string }[]): Promise<void> {
    for (const { key, id } of cutOff) {
      if (closing.signal.aborted) return;
      await bucket.abortParts(key, id);
    }
    if (cutOff.length > 0)
      log.info({ uploads: cutOff.length }, 'uploads to S3 that were cut off are removed');
    for (const digest of [...doomed.keys()]) {
      if (closing.signal.aborted) return;
      await deleteObject(digest);
    }
  }

  const bytesOf = (digest: Digest, { etag, size }: ObjectState) =>
    readRange(bucket, { key: keyOf(digest), etag, start: 0, end: size - 1 }, closing.signal);

  async function remember(digest: Digest, state: ObjectState): Promise<ObjectRecord> {
    const record = { ...state, lastUsedAt: Date.now() };
    await records.put(digest, record);
    confirmed.add(digest);
    totals.added(record.size);
    return record;
  }

  /** The record of a blob whose object is there and unchanged. An object that changed is hashed again, and set aside when it is wrong. */
  async function trusted(digest: Digest): Promise<ObjectRecord | undefined> {
    const record = await records.get(digest);
    if (record && confirmed.has(digest)) return record;
    if (!record && doomed.has(digest)) return undefined;
    const state = await bucket.head(keyOf(digest));
    if (!state) {
      if (record) {
        log.error({ digest }, 'a blob is gone from the bucket');
        await forget(digest, record);
      }
      return undefined;
    }
    if (record && record.etag === state.etag && record.size === state.size) {
      confirmed.add(digest);
      return record;
    }
    const [algorithm = ''] = digest.split(':');
    const actual = await hashOf(algorithm, bytesOf(digest, state));
    if (record) await forget(digest, record);
    if (actual === digestHex(digest)) {
      log.info(
        { digest },
        record ? 'an object was written anew but is unchanged' : 'found a blob that the index lacked',
      );
      return remember(digest, state);
    }
    log.warn(
      { digest, actual: `${algorithm}:${actual}` },
      'an object changed in the bucket; it is set aside',
    );
    await setAside(digest, state);
    return undefined;
  }

  async function setAside(digest: Digest, { size }: ObjectState): Promise<void> {
    const key = keyOf(digest);
    if (size <= MAX_COPY_BYTES)
      await bucket.copy(key, `${base}quarantine/${digestHex(digest)}.${Date.now()}`);
    else log.warn({ digest }, 'the object is too large to be copied; it is removed');
    await bucket.delete(key);
  }

  async function forget(digest: Digest, record: ObjectRecord): Promise<void> {
    await records.delete(digest);
    confirmed.delete(digest);
    totals.removed(record.size);
  }

  async function noteUse(digest: Digest, record: ObjectRecord): Promise<void> {
    const now = Date.now();
    if (now - record.lastUsedAt < USE_RESOLUTION_MS) return;
    await records.put(digest, { ...record, lastUsedAt: now }, { sync: false }).catch((error: unknown) => {
      log.warn({ digest, err: error }, 'the use of a blob was not recorded');
    });
  }

  /** A deleted blob that is still being read, and is pushed again: its object is there. */
  async function revived(digest: Digest): Promise<ObjectRecord | undefined> {
    const state = doomed.get(digest);
    if (!state) return undefined;
    const now = await bucket.head(keyOf(digest));
    if (now?.etag !== state.etag) return undefined;
    doomed.delete(digest);
    const record = await remember(digest, state);
    await records.undoom(digest);
    return record;
  }

  async function store(digest: Digest, from: string, file: FileHandle, size: number): Promise<ObjectRecord> {
    // The file is at hand now; later the pieces would have to come back from S3.
    const pieceLength = pieceLengthFor(size);
    const pieceHashes = hashing.hashPieces(from, pieceLength).catch(() => undefined);
    const etag = await uploader.upload(keyOf(digest), file, size);
    const pieces = await pieceHashes;
    if (pieces) knownPieces.set(digest, pieceLength, pieces);
    const record = await remember(digest, { size, etag });
    doomed.delete(digest);
    await records.undoom(digest);
    return record;
  }

  const adopt = (from: string, file: FileHandle, digest: Digest, size: number): Promise<BlobInfo> =>
    turns.run(digest, async () => {
      const known = (await records.get(digest)) && (await trusted(digest));
      const record = known ?? (await revived(digest)) ?? (await store(digest, from, file, size));
      await rm(from, { force: true });
      return { digest, size, lastUsedAt: record.lastUsedAt };
    });

  /** Deletes the object of a blob that is no longer one, unless it became one again. */
  const deleteObject = (digest: Digest): Promise<void> =>
    turns.run(digest, async () => {
      if (!doomed.has(digest) || readers.has(digest)) return;
      await bucket.delete(keyOf(digest));
      doomed.delete(digest);
      await records.undoom(digest);
    });

  function readerEnded(digest: Digest): void {
    const left = (readers.get(digest) ?? 1) - 1;
    if (left > 0) {
      readers.set(digest, left);
      return;
    }
    readers.delete(digest);
    if (!doomed.has(digest) || closing.signal.aborted) return;
    deleteObject(digest).catch((error: unknown) =>
      log.warn({ digest, err: error }, 'a deleted blob is still in the bucket; the next start removes it'),
    );
  }

  const cutOff = await prepare().catch((error: unknown) => {
    bucket.close();
    throw error;
  });
  const totals = createTotals(records.sizes(), { isClosed: () => closing.signal.aborted, log });
  const uploads = await openUploads(options.uploads, { hashing, adopt });
  const tidied = tidy(cutOff).catch((error: unknown) => {
    if (!closing.signal.aborted) log.warn({ err: error }, 'the bucket could not be tidied');
  });

  return {
    open: (digest) =>
      turns.run(digest, async () => {
        const record = await trusted(digest);
        if (!record) return undefined;
        await noteUse(digest, record);
        readers.set(digest, (readers.get(digest) ?? 0) + 1);
        const object = { key: keyOf(digest), size: record.size, etag: record.etag };
        return createReader(digest, object, {
          ...{ bucket, chunks },
          doubt: () => confirmed.delete(digest),
          ended: () => readerEnded(digest),
        });
      }),
    async stat(digest) {
      const known = confirmed.has(digest) ? await records.get(digest) : undefined;
      const record = known ?? (await turns.run(digest, () => trusted(digest)));
      return record && { digest, size: record.size, lastUsedAt: record.lastUsedAt };
    },
    async hashPieces(digest, pieceLength) {
      const record = await turns.run(digest, () => trusted(digest));
      if (!record) return undefined;
      return (
        knownPieces.take(digest, pieceLength) ??
        (await hashPieces(bytesOf(digest, record), record.size, pieceLength))
      );
    },
    verify: (digest) =>
      turns.run(digest, async () => {
        const record = await records.get(digest);
        const state = await bucket.head(keyOf(digest));
        if (!state || doomed.has(digest)) {
          if (record) await forget(digest, record);
          return 'missing';
        }
        const [algorithm = ''] = digest.split(':');
        const actual = await hashOf(algorithm, bytesOf(digest, state));
        if (actual === digestHex(digest)) {
          if (record) await forget(digest, record);
          await remember(digest, state);
          return 'good';
        }
        log.error({ digest, actual: `${algorithm}:${actual}` }, 'an object is damaged; it is set aside');
        await setAside(digest, state);
        if (record) await forget(digest, record);
        return 'damaged';
      }),
    async *list() {
      for (const { algorithm, name } of FOLDERS) {
        for await (const { key, size } of bucket.list(`${base}${algorithm}/`)) {
          const hex = key.slice(key.lastIndexOf('/') + 1);
          if (!name.test(hex)) continue;
          const digest = parseDigest(`${algorithm}:${hex}`);
          if (doomed.has(digest)) continue;
          yield { digest, size, lastUsedAt: (await records.get(digest))?.lastUsedAt ?? 0 };
        }
      }
    },
    totals: totals.now,
    counted: totals.counted,
    delete: (digest) =>
      turns.run(digest, async () => {
        const record = await records.get(digest);
        confirmed.delete(digest);
        if (readers.has(digest)) {
          if (record === undefined) return;
          await records.doom(digest);
          doomed.set(digest, record);
          totals.removed(record.size);
          return;
        }
        await bucket.delete(keyOf(digest));
        if (record) await forget(digest, record);
        if (doomed.delete(digest)) await records.undoom(digest);
      }),
    createWriter: uploads.create,
    resumeWriter: uploads.resume,
    async close() {
      closing.abort();
      chunks.close();
      await Promise.all([totals.counted, tidied, turns.close()]);
      await uploads.close();
      bucket.close();
    },
  };
}
