/**
 * `/api/v1/cache`: what the cache holds, and an operator's word on it. Everybody whom the listener serves may look; only this machine
 * may change something.
 *
 *     GET    /api/v1/cache?after=<digest>&n=1000   blobs in the order of their digests, `next` when there are more
 *     PUT    /api/v1/cache/pins/<digest>           kept from now on, whether it is here already or not; survives a restart
 *     DELETE /api/v1/cache/pins/<digest>
 *     DELETE /api/v1/cache/blobs/<digest>          409 for one that is pinned or in use
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { BlobStore } from '#blobs';
import { isFromHere, ProblemError } from '#http';
import { type Digest, OciError, parseDigest } from '#oci';
import type { Cache } from './cache.ts';
import type { Pins } from './pins.ts';

const PAGE = 1_000;
const MOST_PAGE = 10_000;

interface CachedBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly lastUsed: string;
  readonly pinned: boolean;
  readonly inUse: boolean;
  readonly inContainerd: boolean;
}

export interface CacheReport {
  readonly countedBytes: number;
  readonly limitBytes: number | null;
  readonly blobs: readonly CachedBlob[];
  /** Pinned blobs that are not here, on the first page. */
  readonly pinnedElsewhere: readonly Digest[];
  readonly next: Digest | null;
}

type OfDigest = { Params: { digest: string } };
type Page = { Querystring: { after?: string; n?: string } };

export function registerCache(
  app: FastifyInstance,
  context: {
    readonly store: BlobStore;
    readonly cache: Cache;
    readonly pins: Pins;
    readonly config: { readonly cacheSizeBytes?: number | undefined };
  },
): void {
  const { store, cache, pins, config } = context;

  async function page(after: Digest | undefined, most: number): Promise<CacheReport> {
    const blobs: CachedBlob[] = [];
    let next: Digest | null = null;
    for await (const { digest, size, lastUsedAt, outside } of store.list()) {
      if (after !== undefined && digest <= after) continue;
      if (blobs.length === most) {
        next = blobs.at(-1)?.digest ?? null;
        break;
      }
      const usedAt = Math.max(lastUsedAt, cache.usedAt(digest) ?? 0);
      blobs.push({
        ...{ digest, size, lastUsed: new Date(usedAt).toISOString() },
        ...{ pinned: pins.has(digest), inUse: cache.inUse(digest), inContainerd: outside === true },
      });
    }
    const pinnedElsewhere: Digest[] = [];
    for (const digest of after === undefined ? pins.list() : []) {
      if (!(await store.stat(digest))) pinnedElsewhere.push(digest);
    }
    const limitBytes = config.cacheSizeBytes ?? null;
    return { countedBytes: cache.countedBytes(), limitBytes, blobs, pinnedElsewhere, next };
  }

  app.get<Page>('/api/v1/cache', async ({ query }) => {
    const most = Number(query.n ?? PAGE);
    if (!Number.isInteger(most) || most < 1 || most > MOST_PAGE) {
      throw new ProblemError(400, 'Bad Request', `n must be a whole number from 1 to ${MOST_PAGE}`);
    }
    return page(query.after === undefined ? undefined : digestOf(query.after), most);
  });
  app.put<OfDigest>('/api/v1/cache/pins/:digest', async (request) => {
    const digest = changing(request);
    try {
      await pins.add(digest);
    } catch (error) {
      if (error instanceof RangeError) throw new ProblemError(409, 'Conflict', error.message);
      throw error;
    }
    return { digest, pinned: true, here: (await store.stat(digest)) !== undefined };
  });
  app.delete<OfDigest>('/api/v1/cache/pins/:digest', async (request) => {
    const digest = changing(request);
    const wasPinned = await pins.remove(digest);
    cache.trim();
    return { digest, pinned: false, wasPinned };
  });
  app.delete<OfDigest>('/api/v1/cache/blobs/:digest', async (request) => {
    const digest = changing(request);
    const result = await cache.remove(digest);
    if (result === 'pinned') throw new ProblemError(409, 'Conflict', `${digest} is pinned; unpin it first`);
    if (result === 'in-use') throw new ProblemError(409, 'Conflict', `${digest} is in use; try again later`);
    return { digest, removed: result === 'removed' };
  });
}

/** Browsers send neither method to a strange host without asking it, and are not answered. */
function changing(request: FastifyRequest<OfDigest>): Digest {
  if (!isFromHere(request.raw)) {
    throw new ProblemError(403, 'Forbidden', 'the cache is changed from its own machine only');
  }
  return digestOf(request.params.digest);
}

function digestOf(text: string): Digest {
  try {
    return parseDigest(text);
  } catch (error) {
    if (error instanceof OciError) throw new ProblemError(400, 'Bad Request', error.message);
    throw error;
  }
}
