/** The cache of an agent: its budget from the configuration, its word from the trackers, its metrics. */
import { statfs } from 'node:fs/promises';
import { askCopies } from '#discovery';
import type { Endpoints } from '#endpoints';
import type { HttpClient } from '#http';
import type { Metrics } from '#telemetry';
import { type Cache, createCache } from './cache.ts';

/** Other programs need some of the disk too; a small disk should still hold a cache. */
const FLOOR_SHARE = 0.05;
const MOST_FLOOR_BYTES = 1024 ** 3;

export interface CacheConfig {
  /** Folder of the cache. */
  readonly data: string;
  readonly cacheSizeBytes?: number | undefined;
  readonly cacheFreeBytes?: number | undefined;
  readonly waitForRoomMs?: number | undefined;
}

export async function setUpCache(
  options: Omit<
    Parameters<typeof createCache>[0],
    'freeBytes' | 'limitBytes' | 'floorBytes' | 'waitForRoomMs' | 'othersHolding' | 'metrics'
  > & {
    readonly config: CacheConfig;
    /** Which are trackers. */
    readonly origins: Endpoints;
    /** For questions to the trackers. */
    readonly http: HttpClient;
    readonly counters: Parameters<typeof createCache>[0]['metrics'];
    readonly metrics: Metrics;
  },
): Promise<Cache> {
  const { config, http, swarm, counters, metrics, log } = options;
  const { blocks, bsize } = await statfs(config.data);
  const cache = createCache({
    ...options,
    metrics: counters,
    limitBytes: config.cacheSizeBytes,
    floorBytes: config.cacheFreeBytes ?? Math.min(blocks * bsize * FLOOR_SHARE, MOST_FLOOR_BYTES),
    waitForRoomMs: config.waitForRoomMs,
    freeBytes: async () => {
      const now = await statfs(config.data);
      return now.bavail * now.bsize;
    },
    othersHolding: (infoHashes) =>
      askCopies({ trackers: options.origins, client: http, peerId: swarm.peerId, log }, infoHashes),
  });
  metrics.gauge({
    name: 'shoal_cache_disk_bytes',
    help: 'What counts against cache.size: complete blobs, those that are being fetched, and pieces of unfinished ones',
    read: (gauge) => gauge.set(cache.countedBytes()),
  });
  metrics.gauge({
    name: 'shoal_cache_limit_bytes',
    help: 'The most that the cache may hold (cache.size); +Inf: the disk is the limit',
    read: (gauge) => gauge.set(config.cacheSizeBytes ?? Number.POSITIVE_INFINITY),
  });
  return cache;
}
