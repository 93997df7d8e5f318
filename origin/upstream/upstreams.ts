/** All upstreams of an origin: finds the one that a repository belongs to, and shares what they share. */
import type { BlobStore } from '#blobs';
import { type Digest, type Manifest, OciError, type Reference, type RepositoryName } from '#oci';
import type { Logger, Metrics } from '#telemetry';
import type { Exclusive } from '../exclusive.ts';
import type { MetadataStore, NewManifest } from '../metadata/port.ts';
import type { SpaceGuard } from '../space.ts';
import type { Torrents } from '../torrents.ts';
import { createAbsent } from './absent.ts';
import { createUpstreamBlobs } from './blobs.ts';
import { createUpstreamClient, type UpstreamClient } from './client.ts';
import type { UpstreamConfig } from './config.ts';
import type { IncomingBlob } from './incoming.ts';
import { fetchList, type UpstreamList } from './lists.ts';
import { createUpstreamManifests, type FoundManifest, type Place } from './manifests.ts';
import { hostToComponent } from './names.ts';

/** Long enough to stop a storm of the same question, short enough for who has just pushed there. */
const ABSENT_MS = 10_000;

export interface UpstreamStatus {
  readonly name: string;
  readonly url: string;
  readonly credentials: boolean;
  /** Whether it answered when it was last asked; null: it was not asked yet. */
  readonly reachable: boolean | null;
  /** Seconds until it is asked again; 0: at once. */
  readonly retryAfterSeconds: number;
}

export interface Upstreams {
  /** Whether the repository is an upstream's. */
  owns(name: RepositoryName): boolean;
  /** What a reference means there now. It is in the metadata then. Undefined: unknown there. @throws OciError UNAVAILABLE, DENIED */
  manifest(name: RepositoryName, reference: Reference): Promise<FoundManifest | undefined>;
  /** Bytes of a blob, without fetching it. @throws OciError BLOB_UNKNOWN, DENIED, UNAVAILABLE */
  blobSize(name: RepositoryName, digest: Digest): Promise<number>;
  /** The blob when it is on its way. Whether a client may have it is not asked here. */
  incoming(digest: Digest): IncomingBlob | undefined;
  /**
   * Joins the blob's fetch or starts it, when the upstream says that this repository has it. Undefined:
   * it is in the repository by now, or comes without its size being known; `complete` waits for it.
   * @throws OciError BLOB_UNKNOWN, DENIED, UNAVAILABLE, NO_SPACE
   */
  start(name: RepositoryName, digest: Digest): Promise<IncomingBlob | undefined>;
  /** As `start`, and waits until the blob is in the repository. @throws OciError, also UNAVAILABLE after `withinMs` */
  complete(name: RepositoryName, digest: Digest, withinMs: number): Promise<void>;
  /** A list below the repository, by `query`. Undefined: it is unknown there. @throws OciError UNAVAILABLE, DENIED */
  list(name: RepositoryName, path: string, query: string): Promise<UpstreamList | undefined>;
  /** Blobs on their way. */
  fetching(): number;
  status(): readonly UpstreamStatus[];
  /** Ends what is on its way, and keeps nothing of it. */
  close(): Promise<void>;
}

/** @throws ConfigError for files that cannot be used */
export async function createUpstreams(
  configs: readonly UpstreamConfig[],
  parts: {
    readonly metadata: MetadataStore;
    readonly blobs: BlobStore;
    readonly torrents: Torrents;
    readonly perDigest: Exclusive;
    readonly space: SpaceGuard;
    /** What a manifest refers to. */
    readonly requirementsOf: (manifest: Manifest) => NewManifest['requires'];
    /** Told of blob payload that comes. */
    readonly onPayload: (bytes: number) => void;
    readonly metrics: Metrics;
    readonly log: Logger;
  },
): Promise<Upstreams> {
  const { metadata, metrics, log } = parts;
  const closing = new AbortController();
  const requests = metrics.counter<'upstream' | 'status'>({
    name: 'shoal_upstream_requests_total',
    help: "Requests to upstreams, their token services and their blob hosts, by status ('error': no answer)",
    labels: ['upstream', 'status'],
  });
  const received = metrics.counter<'upstream'>({
    name: 'shoal_upstream_bytes_total',
    help: 'Bytes of blobs that came from upstreams',
    labels: ['upstream'],
    known: configs.map(({ name }) => ({ upstream: name })),
  });
  const stale = metrics.counter<'upstream'>({
    name: 'shoal_upstream_stale_total',
    help: 'Tags that were served as they were last confirmed, because the upstream could not be asked',
    labels: ['upstream'],
    known: configs.map(({ name }) => ({ upstream: name })),
  });

  await using opened = new AsyncDisposableStack();
  const clients = new Map<string, UpstreamClient>();
  for (const config of configs) {
    const client = await createUpstreamClient(config, {
      onAnswer: (status) => requests.inc({ upstream: config.name, status }),
      log,
    });
    opened.defer(() => client.close());
    clients.set(hostToComponent(config.name), client);
  }

  const placeOf = (name: RepositoryName): Place | undefined => {
    const slash = name.indexOf('/');
    const client = slash < 0 ? undefined : clients.get(name.slice(0, slash));
    const rest = name.slice(slash + 1);
    // What Docker Hub itself means by a name without a slash.
    const official = client?.config.name === 'docker.io' && !rest.includes('/');
    return client && { client, name, repository: official ? `library/${rest}` : rest };
  };
  const placeFor = (name: RepositoryName): Place => {
    const place = placeOf(name);
    if (place === undefined) throw new TypeError(`${name} is no upstream's`);
    return place;
  };

  const shared = { absent: createAbsent(ABSENT_MS), closing: closing.signal };
  const manifests = createUpstreamManifests({
    ...{ metadata, log, requirementsOf: parts.requirementsOf },
    ...shared,
    onStale: (upstream) => stale.inc({ upstream }),
  });
  const blobs = createUpstreamBlobs({
    ...{ metadata, log, blobs: parts.blobs, torrents: parts.torrents },
    ...{ perDigest: parts.perDigest, space: parts.space },
    ...shared,
    onBytes(upstream, bytes) {
      received.inc({ upstream }, bytes);
      parts.onPayload(bytes);
    },
  });
  if (clients.size > 0) await removeLeftovers(metadata, parts.blobs, (name) => placeOf(name) !== undefined);

  const running = opened.move();
  return {
    owns: (name) => placeOf(name) !== undefined,
    manifest: (name, reference) => manifests.find(placeFor(name), reference),
    blobSize: (name, digest) => blobs.size(placeFor(name), digest),
    incoming: (digest) => blobs.running(digest)?.incoming,
    start: async (name, digest) => (await blobs.start(placeFor(name), digest))?.incoming,
    async complete(name, digest, withinMs) {
      const deadline = AbortSignal.timeout(withinMs);
      const late = new OciError('UNAVAILABLE', 'the blob is still on its way from its upstream', undefined, {
        headers: { 'retry-after': '1' },
      });
      const work = blobs.start(placeFor(name), digest).then((fetch) => fetch?.finished);
      work.catch(() => undefined);
      await Promise.race([
        work,
        new Promise<void>((_, reject) => deadline.addEventListener('abort', () => reject(late))),
      ]);
    },
    list: (name, path, query) => fetchList(placeFor(name), path, query, closing.signal),
    fetching: blobs.count,
    status: () =>
      [...clients.values()].map(({ config: { name, url, credentials }, status }) => {
        const { reachable, retryAfterSeconds } = status();
        return {
          ...{ name, url, retryAfterSeconds },
          credentials: credentials !== undefined,
          reachable: reachable ?? null,
        };
      }),
    async close() {
      closing.abort(new OciError('UNAVAILABLE', 'the origin is stopping'));
      await blobs.settled();
      await running.disposeAsync();
    },
  };
}

/** What was on its way when an earlier run was killed. */
async function removeLeftovers(
  metadata: MetadataStore,
  blobs: BlobStore,
  owns: (name: RepositoryName) => boolean,
): Promise<void> {
  for await (const { id, name } of metadata.uploads()) {
    if (!owns(name)) continue;
    await (await blobs.resumeWriter(id))?.cancel();
    await metadata.endUpload(id);
  }
}
