/**
 * The cache's size. Blobs leave it in the order of their last use, never while a client streams
 * them. A blob that leaves is first forgotten by the tracker and the swarm, then deleted.
 * Verified pieces of downloads that nobody went on with leave before any complete blob.
 */
import type { BlobInfo, BlobStore } from '#blobs';
import type { Discovery } from '#discovery';
import type { Digest } from '#oci';
import type { Swarm } from '#swarm';
import type { Logger } from '#telemetry';
import type { MetainfoCatalog } from '#torrent';
import type { Unfinished } from './unfinished.ts';

export interface Cache {
  /** Keeps a blob in the cache until the returned function is called. */
  pin(digest: Digest): () => void;
  /** Makes room for a blob that is about to be fetched; the returned function gives the claim back. */
  reserve(bytes: number): Promise<() => void>;
  /** Brings the cache below its limit in the background. */
  trim(): void;
  /**
   * The disk is full: evicts until this much is free. False when even an empty cache would not make
   * so much room; then nothing is evicted.
   */
  makeRoom(bytes: number): Promise<boolean>;
  /** The store set this blob aside because its file had changed: it is no longer ours to seed. */
  lost(digest: Digest): Promise<void>;
  close(): Promise<void>;
}

/** Evicting goes on to this share of the limit, so that it does not run for every blob. */
const LOW_WATER = 0.9;

export function createCache(options: {
  readonly store: BlobStore;
  readonly catalog: MetainfoCatalog;
  readonly swarm: Swarm;
  readonly discovery: Discovery;
  readonly unfinished: Unfinished;
  /** Bytes that the disk has free. */
  readonly freeBytes: () => Promise<number>;
  /** Undefined: only the disk is the limit. */
  readonly limitBytes: number | undefined;
  /** The store has counted its blobs and discovery knows them: what is evicted before would be told afterwards. */
  readonly ready: Promise<unknown>;
  readonly log: Logger;
}): Cache {
  const { store, catalog, swarm, discovery, log, limitBytes } = options;
  const pins = new Map<Digest, number>();
  let claimedBytes = 0;
  let closing = false;
  /** Evictions run one after another, so that two do not free the same bytes. */
  let last: Promise<unknown> = Promise.resolve();

  function inTurn<T>(task: () => Promise<T>): Promise<T> {
    const turn = last.then(task);
    last = turn.catch(() => undefined);
    return turn;
  }

  async function forget(digest: Digest): Promise<void> {
    const metainfo = await catalog.get(digest);
    if (!metainfo) return;
    discovery.drop([metainfo.infoHash]);
    await catalog.delete(digest);
    await swarm.release(metainfo.infoHash, digest);
  }

  async function leastRecentlyUsed(): Promise<BlobInfo[]> {
    const blobs: BlobInfo[] = [];
    for await (const blob of store.list()) blobs.push(blob);
    return blobs.sort((a, b) => a.lastUsedAt - b.lastUsedAt);
  }

  /** Frees at least `bytes` from complete blobs, as far as they are not in use. Answers what was freed. */
  async function evict(bytes: number): Promise<number> {
    if (bytes <= 0) return 0;
    let freed = 0;
    let count = 0;
    for (const blob of await leastRecentlyUsed()) {
      if (freed >= bytes || closing) break;
      if (pins.has(blob.digest)) continue;
      await forget(blob.digest);
      await store.delete(blob.digest);
      freed += blob.size;
      count += 1;
    }
    if (count > 0) log.info({ blobs: count, bytes: freed }, 'evicted from the cache');
    return freed;
  }

  async function evictable(): Promise<number> {
    let bytes = 0;
    for (const blob of await leastRecentlyUsed()) if (!pins.has(blob.digest)) bytes += blob.size;
    return bytes;
  }

  async function trimNow(): Promise<void> {
    if (limitBytes === undefined) return;
    await options.ready;
    const wanted = store.totals().bytes + claimedBytes;
    if (wanted > limitBytes) await evict(wanted - limitBytes * LOW_WATER);
  }

  return {
    pin(digest) {
      pins.set(digest, (pins.get(digest) ?? 0) + 1);
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        const left = (pins.get(digest) ?? 1) - 1;
        if (left === 0) pins.delete(digest);
        else pins.set(digest, left);
      };
    },
    async reserve(bytes) {
      claimedBytes += bytes;
      let held = true;
      await inTurn(trimNow).catch((error: unknown) => log.error({ err: error }, 'eviction failed'));
      return () => {
        if (held) claimedBytes -= bytes;
        held = false;
      };
    },
    trim() {
      inTurn(trimNow).catch((error: unknown) => log.error({ err: error }, 'eviction failed'));
    },
    makeRoom(bytes) {
      return inTurn(async () => {
        await options.ready;
        await options.unfinished.dropAbandoned(0);
        const missing = bytes - (await options.freeBytes());
        if (missing > (await evictable())) {
          log.error({ bytes, missing }, 'the disk is full and eviction would not make enough room');
          return false;
        }
        await evict(missing);
        return true;
      });
    },
    async lost(digest) {
      log.error({ digest }, 'the file of a cached blob had changed; it was set aside');
      await forget(digest);
    },
    async close() {
      closing = true;
      await last;
    },
  };
}
