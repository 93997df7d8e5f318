/**
 * A blob of at most one piece: had whole, from the origin over HTTP or while it is out from another member, checked, stored, and seeded like any other.
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
import type { AgentMetrics } from './metrics.ts';
import type { Repository } from './repository.ts';

interface SmallBytes {
  readonly bytes: Buffer;
  readonly source: 'origin-http' | 'peer';
  /** When the fetch was begun, of the monotonic clock; milliseconds. */
  readonly startedAt: number;
}

/** Keeps bytes that were checked against the digest. */
export async function keepSmallBlob(
  context: {
    readonly store: BlobStore;
    readonly catalog: MetainfoCatalog;
    readonly discovery: Discovery;
    readonly cache: Cache;
    readonly metrics: AgentMetrics;
    readonly accounts: Accounts;
  },
  repository: Repository,
  digest: Digest,
  { bytes, source, startedAt }: SmallBytes,
): Promise<void> {
  const { store, catalog, discovery, cache, metrics } = context;
  if (source === 'origin-http') metrics.fetchedOverHttp(bytes.length);
  const tally = context.accounts.of(repository, digest);
  tally.fetched(source === 'origin-http' ? 'originHttp' : 'peer', bytes.length);
  const room = await cache.reserve(digest, bytes.length).catch((error: unknown) => {
    // The client has its bytes, whether they can be kept or not.
    if (error instanceof OciError && error.code === 'UNAVAILABLE') return undefined;
    throw error;
  });
  if (!room) return;
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
