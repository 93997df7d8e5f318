/**
 * Which downloads were begun and not completed, also before a restart. Their verified pieces stay
 * on disk for the next attempt; what nobody asked for again in a week is removed.
 */
import type { Level } from 'level';
import type { DownloadStore } from '#blobs';
import { type Digest, parseDigest } from '#oci';
import type { Logger } from '#telemetry';
import { createDraft, isDraftable, type MetainfoCatalog, type Torrent } from '#torrent';

export interface Unfinished {
  /** A download of a blob of `length` bytes runs. Call the answer when it has ended; a completed one is not remembered further. */
  begin(digest: Digest, length: number): Promise<(completed: boolean) => Promise<void>>;
  /** Downloads that were begun before and are not complete. */
  pending(): Promise<ReadonlySet<Digest>>;
  isRunning(digest: Digest): boolean;
  /** Removes the pieces of downloads that do not run and were begun longer ago than this. Answers the bytes freed. */
  dropAbandoned(olderThanMs: number): Promise<number>;
}

export const ABANDONED_AFTER_MS = 7 * 24 * 60 * 60 * 1000;

interface Begun {
  /** Milliseconds since the epoch. */
  readonly begunAt: number;
  /** Bytes of the blob; earlier versions did not note them. */
  readonly length?: number;
}

export function openUnfinished(options: {
  readonly db: Level<string, Uint8Array>;
  readonly store: DownloadStore;
  readonly catalog: MetainfoCatalog;
  readonly log: Logger;
}): Unfinished {
  const { store, catalog, log } = options;
  const records = options.db.sublevel<string, Begun>('unfinished', {
    valueEncoding: 'json',
  });
  const running = new Set<Digest>();

  /** What its partial blob is opened by: a draft, whose hashes nobody knows any more, will do. */
  async function torrentOf(digest: Digest, length: number | undefined): Promise<Torrent | undefined> {
    const metainfo = await catalog.get(digest);
    if (metainfo || length === undefined || !isDraftable(length)) return metainfo;
    return createDraft({ digest, length }).draft;
  }

  async function drop(digest: Digest, length: number | undefined): Promise<number> {
    const torrent = await torrentOf(digest, length);
    if (!torrent || (await store.stat(digest))) return 0;
    const partial = await store.openPartial(torrent);
    const bytes = partial.verifiedBytes;
    await partial.discard();
    await catalog.delete(digest);
    log.info({ digest, bytes }, 'dropped the pieces of a download that nobody went on with');
    return bytes;
  }

  return {
    async begin(digest, length) {
      running.add(digest);
      await records.put(digest, { begunAt: Date.now(), length });
      return async (completed) => {
        running.delete(digest);
        if (completed) await records.del(digest);
      };
    },
    isRunning: (digest) => running.has(digest),
    async pending() {
      const digests = new Set<Digest>();
      for await (const key of records.keys()) {
        const digest = parseDigest(key);
        // Killed after the blob became complete and before this was noted.
        if (await store.stat(digest)) await records.del(digest);
        else digests.add(digest);
      }
      return digests;
    },
    async dropAbandoned(olderThanMs) {
      let freed = 0;
      for (const [key, record] of await records.iterator().all()) {
        const digest = parseDigest(key);
        if (running.has(digest) || Date.now() - record.begunAt < olderThanMs) continue;
        try {
          freed += await drop(digest, record.length);
          await records.del(digest);
        } catch (error) {
          log.warn({ digest, err: error }, 'abandoned pieces not removed');
        }
      }
      return freed;
    },
  };
}
