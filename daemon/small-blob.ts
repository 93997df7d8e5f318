/**
 * A blob of at most one piece: fetched whole over HTTP, checked, stored, and seeded like any other.
 * Its metainfo needs no request: one piece is the whole blob, and the rest follows from the bytes.
 */
import { createHash } from 'node:crypto';
import type { BlobStore } from '#blobs';
import type { Discovery } from '#discovery';
import { type Digest, OciError } from '#oci';
import { createMetainfo, type MetainfoCatalog } from '#torrent';
import type { Accounts } from './accounts/index.ts';
import type { Cache } from './cache.ts';
import { isNoSpace } from './download.ts';
import { SMALL_BLOB_BYTES } from './metainfo-source.ts';
import type { AgentMetrics } from './metrics.ts';
import type { OriginClient } from './origin-client.ts';
import type { Ask } from './origins.ts';
import type { Repository } from './repository.ts';

export async function fetchSmallBlob(
  context: {
    readonly store: BlobStore;
    readonly catalog: MetainfoCatalog;
    readonly discovery: Discovery;
    readonly origin: OriginClient;
    readonly cache: Cache;
    readonly metrics: AgentMetrics;
    readonly accounts: Accounts;
  },
  repository: Repository,
  digest: Digest,
  ask: Ask,
): Promise<Buffer> {
  const { store, catalog, discovery, cache, metrics } = context;
  const startedAt = performance.now();
  const bytes = await context.origin.smallBlob(repository, digest, SMALL_BLOB_BYTES, ask);
  metrics.fetchedOverHttp(bytes.length);
  const tally = context.accounts.of(repository, digest);
  tally.fetched('originHttp', bytes.length);
  const room = await cache.reserve(digest, bytes.length).catch((error: unknown) => {
    // The client has its bytes, whether they can be kept or not.
    if (error instanceof OciError && error.code === 'UNAVAILABLE') return undefined;
    throw error;
  });
  if (!room) return bytes;
  try {
    await keep(store, digest, bytes, room.complete);
  } catch (error) {
    if (!isNoSpace(error) || !(await cache.makeRoom(bytes.length))) throw error;
    await keep(store, digest, bytes, room.complete);
  } finally {
    room.release(0);
  }
  metrics.blobFetched((performance.now() - startedAt) / 1000);
  tally.cached(performance.now() - startedAt);
  if (bytes.length > 0) {
    const pieces = createHash('sha1').update(bytes).digest();
    const metainfo = createMetainfo({ digest, length: bytes.length, pieces });
    await catalog.put(metainfo);
    discovery.hold([metainfo.infoHash]);
  }
  cache.trim();
  return bytes;
}

async function keep(store: BlobStore, digest: Digest, bytes: Buffer, onStored: () => void): Promise<void> {
  const writer = await store.createWriter();
  try {
    await writer.append(once(bytes));
    await writer.commit(digest, { onStored });
  } catch (error) {
    await writer.cancel().catch(() => undefined);
    throw error;
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
