/**
 * Fetches an image into the cache because an origin ordered it: index, platform, layers, each as a client's pull
 * would, so that pulls of the same image meanwhile share its downloads. Verified pieces stay when it is
 * given up; the next attempt goes on from them.
 */
import type { BlobStore } from '#blobs';
import {
  type Digest,
  hostPlatform,
  imageFor,
  imagesOf,
  isIndexMediaType,
  MANIFEST_MEDIA_TYPES,
  type Manifest,
  type ManifestDescriptor,
  OciError,
  parseDigest,
  parseManifest,
  parseRepositoryName,
} from '#oci';
import { type BytesBySource, NO_BYTES, type Order } from '#orders';
import type { Cache } from '../cache.ts';
import type { Downloads } from '../downloads.ts';
import type { PullReport } from '../pull-account.ts';
import type { Pulls } from '../pulls.ts';
import { type Repository, toRepository } from '../repository.ts';
import type { Resolver } from '../resolver.ts';

export interface PrefetchParts {
  readonly store: Pick<BlobStore, 'stat'>;
  readonly cache: Pick<Cache, 'use'>;
  readonly cacheSizeBytes: number | undefined;
  readonly downloads: Pick<Downloads, 'open'>;
  readonly resolver: Resolver;
  readonly pulls: Pick<Pulls, 'reports'>;
}

export interface Prefetch {
  /** Resolves when every blob is here and verified. @throws OciError, Error with the reason */
  readonly finished: Promise<void>;
  progress(): { readonly totalBytes: number; readonly bytes: BytesBySource; readonly slowest: string | null };
}

/** containerd's default of concurrent layer downloads. */
const PARALLEL_BLOBS = 3;
const MAX_MANIFESTS = 64;
const ACCEPT = MANIFEST_MEDIA_TYPES.join(', ');

interface Part {
  readonly digest: Digest;
  readonly size: number;
  /** It was here before anybody fetched it for this. */
  present: boolean;
}

export function startPrefetch(order: Order, parts: PrefetchParts, signal: AbortSignal): Prefetch {
  const { store, cache, downloads, resolver, pulls, cacheSizeBytes } = parts;
  const since = Date.now();
  let blobs: Part[] = [];

  async function fetchBlob(repository: Repository, part: Part): Promise<void> {
    // Its small blobs are fetched as soon as the manifest is here: those came for this, too.
    if (await store.stat(part.digest)) {
      part.present = accountOf(part.digest) === undefined;
      return;
    }
    const opened = await downloads.open(repository, part.digest, {});
    if (opened.kind !== 'download') return;
    const { download } = opened;
    const { promise, reject } = Promise.withResolvers<never>();
    const giveUp = (): void => {
      reject(signal.reason);
      // Somebody's pull goes on.
      if (download.status().clients === 0) void download.close();
    };
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      signal.throwIfAborted();
      await Promise.race([download.finished, promise]);
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** What was fetched of it since the order came. */
  function accountOf(digest: Digest): PullReport | undefined {
    return pulls.reports(digest).find(({ startedAt }) => Date.parse(startedAt) >= since);
  }

  async function run(): Promise<void> {
    const repository = toRepository(parseRepositoryName(order.repository), undefined);
    const found = await manifestsOf(resolver, repository, order, signal);
    const distinct = new Map(found.flatMap((manifest) => manifest.blobs).map((blob) => [blob.digest, blob]));
    blobs = Array.from(distinct.values(), ({ digest, size }) => ({ digest, size, present: false }));
    const total = blobs.reduce((sum, { size }) => sum + size, 0);
    if (cacheSizeBytes !== undefined && total > cacheSizeBytes) {
      throw new OciError(
        'NO_SPACE',
        `the image has ${total} bytes, the cache holds ${cacheSizeBytes} (cache.size)`,
      );
    }
    const pins = blobs.map(({ digest }) => cache.use(digest));
    try {
      const queue = blobs[Symbol.iterator]();
      const lane = async (): Promise<void> => {
        for (const part of queue) {
          signal.throwIfAborted();
          await fetchBlob(repository, part);
        }
      };
      const lanes = await Promise.allSettled(Array.from({ length: PARALLEL_BLOBS }, lane));
      const failed = lanes.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
      for (const { digest } of blobs) {
        if (!(await store.stat(digest))) throw new Error(`${digest} was fetched and is not in the cache`);
      }
    } finally {
      for (const unpin of pins) unpin();
    }
  }

  const finished = run();
  finished.catch(() => undefined);
  return {
    finished,
    progress() {
      const bytes = { ...NO_BYTES };
      let totalBytes = 0;
      let slowest: PullReport | undefined;
      for (const { digest, size, present } of blobs) {
        totalBytes += size;
        if (present) bytes.present += size;
        const account = present ? undefined : accountOf(digest);
        if (account === undefined) continue;
        const by = account.bytesBySource;
        bytes.peer += by.peer;
        bytes.originSwarm += by['origin-swarm'];
        bytes.originHttp += by['origin-http'];
        bytes.upstream += by.upstream;
        bytes.resumed += by.resumed;
        if (account.wallMs > (slowest?.wallMs ?? 0)) slowest = account;
      }
      return { totalBytes, bytes, slowest: slowest?.slowest ?? null };
    },
  };
}

/** The images that an order means. */
async function manifestsOf(
  resolver: Resolver,
  repository: Repository,
  order: Order,
  signal: AbortSignal,
): Promise<Manifest[]> {
  const read = async (digest: Digest): Promise<Manifest> => {
    const reference = { kind: 'digest', digest } as const;
    const { bytes, mediaType } = await resolver.resolve(repository, reference, { accept: ACCEPT, signal });
    return parseManifest(bytes, mediaType);
  };
  const first = await read(parseDigest(order.digest));
  if (!isIndexMediaType(first.mediaType)) return [first];
  const chosen = choose(first.manifests, order.platforms);
  if (chosen.length > MAX_MANIFESTS) throw new Error(`the index has more than ${MAX_MANIFESTS} images`);
  const images: Manifest[] = [];
  for (const { digest } of chosen) images.push(await read(digest));
  return images;
}

function choose(entries: readonly ManifestDescriptor[], wanted: readonly string[]): ManifestDescriptor[] {
  const images = imagesOf(entries);
  if (wanted.includes('all')) return images;
  const platforms = wanted.length > 0 ? wanted : [hostPlatform()];
  const found = platforms.flatMap((platform) => imageFor(images, platform) ?? []);
  if (found.length > 0) return [...new Set(found)];
  throw new OciError('MANIFEST_UNKNOWN', `the image has no ${platforms.join(', ')}`);
}
