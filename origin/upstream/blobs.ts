/**
 * Blobs of upstreams: each is fetched once, however many ask and in however many repositories. A
 * repository gets a blob only when its upstream said that this repository has it, be it that the bytes
 * are here already or on their way for another one.
 */
import { type BlobStore, BlobStoreError, type BlobWriter } from '#blobs';
import type { HttpResponse } from '#http';
import { type Digest, digestAlgorithm, OciError, type RepositoryName } from '#oci';
import type { Logger } from '#telemetry';
import type { Exclusive } from '../exclusive.ts';
import type { MetadataStore } from '../metadata/port.ts';
import type { SpaceGuard } from '../space.ts';
import { asOciError as storeError } from '../store-error.ts';
import type { Torrents } from '../torrents.ts';
import type { Absent } from './absent.ts';
import { type BlobFetch, fetchBlob, sizeOf } from './fetch.ts';
import type { Place } from './manifests.ts';

/** More at once would only share the same line; what is refused comes again. */
const MAX_FLIGHTS = 64;
/** Of the first answer, with log-in and redirects: agents wait 20 s. */
const START_FACTOR = 1.5;

export interface UpstreamBlobs {
  /**
   * Joins or starts the fetch. Undefined: the blob is in the repository by now.
   * @throws OciError BLOB_UNKNOWN, DENIED, UNAVAILABLE, NO_SPACE
   */
  start(place: Place, digest: Digest): Promise<BlobFetch | undefined>;
  /** The fetch of this blob, when it runs and its upstream has answered. */
  running(digest: Digest): BlobFetch | undefined;
  /** Bytes of a blob, without fetching it. @throws OciError BLOB_UNKNOWN, DENIED, UNAVAILABLE */
  size(place: Place, digest: Digest): Promise<number>;
  count(): number;
  /** Waits for what runs, which `closing` ends. */
  settled(): Promise<void>;
}

interface Flight {
  /** The repositories that get the blob. */
  readonly names: Set<RepositoryName>;
  readonly fetch: Promise<BlobFetch | undefined>;
  /** Once the upstream answered. */
  begun?: BlobFetch;
  /** Ends with all that follows the fetch. */
  ended?: Promise<void>;
  /** Too late for another repository to be linked by this flight. */
  sealed: boolean;
}

export function createUpstreamBlobs(options: {
  readonly blobs: BlobStore;
  readonly metadata: MetadataStore;
  readonly torrents: Torrents;
  readonly perDigest: Exclusive;
  readonly space: SpaceGuard;
  readonly absent: Absent;
  readonly onBytes: (upstream: string, bytes: number) => void;
  readonly closing: AbortSignal;
  readonly log: Logger;
}): UpstreamBlobs {
  const { blobs, metadata, perDigest, absent, closing, log } = options;
  const flights = new Map<Digest, Flight>();
  const keyOf = (place: Place, digest: Digest): string => `${place.name} ${digest}`;

  const isHere = async ({ name }: Place, digest: Digest): Promise<boolean> =>
    (await metadata.hasBlob(name, digest)) && (await blobs.stat(digest)) !== undefined;

  /** Refuses at once what the upstream refused a moment ago, and remembers what it refuses now. */
  async function asked<T>(place: Place, digest: Digest, ask: () => Promise<T>): Promise<T> {
    const key = keyOf(place, digest);
    const before = absent.get(key);
    if (before === 'unknown') throw unknown(digest);
    if (before !== undefined) throw before;
    try {
      return await ask();
    } catch (error) {
      if (error instanceof OciError && /^(?:DENIED|BLOB_UNKNOWN)$/.test(error.code)) absent.keep(key, error);
      throw error;
    }
  }

  /** Bytes of the blob as this repository of the upstream has it; undefined when no size is named. */
  async function head(place: Place, digest: Digest): Promise<number | undefined> {
    const { client, repository } = place;
    const signal = AbortSignal.any([closing, AbortSignal.timeout(client.config.timeoutMs)]);
    const path = `blobs/${digest}`;
    const answer = await client
      .request({ method: 'HEAD', repository, path, signal })
      .catch((error: unknown) => {
        if (error instanceof OciError && error.code === 'DENIED') return undefined;
        throw error;
      });
    if (answer) await client.discard(answer);
    if (answer?.status === 200) return sizeOf(answer);
    if (answer?.status === 404) throw unknown(digest);
    // A link that was signed for GET does not let HEAD pass.
    const first = await client.request({ repository, path, headers: { range: 'bytes=0-0' }, signal });
    first.body.on('error', () => undefined);
    first.body.destroy();
    if (first.status === 200) return sizeOf(first);
    const total = /^bytes 0-0\/(\d{1,16})$/.exec(first.headers['content-range'] ?? '')?.[1];
    if (first.status === 206) return total === undefined ? undefined : Number(total);
    if (first.status === 416) return 0;
    throw unknown(digest);
  }

  /** The bytes are here, through another repository. False: they are not, after all. */
  async function linkStored(place: Place, digest: Digest): Promise<boolean> {
    const stored = await blobs.stat(digest);
    if (stored === undefined) return false;
    const size = await head(place, digest);
    if (size !== undefined && size !== stored.size) throw unknown(digest);
    return perDigest.run(digest, async () => {
      if ((await blobs.stat(digest)) === undefined) return false;
      await metadata.linkBlob(place.name, digest);
      return true;
    });
  }

  async function request(place: Place, digest: Digest): Promise<HttpResponse> {
    const { client, repository } = place;
    const slow = new AbortController();
    const timer = setTimeout(
      () => slow.abort(new DOMException('it did not answer in time', 'TimeoutError')),
      client.config.timeoutMs * START_FACTOR,
    );
    try {
      const response = await client.request({
        repository,
        path: `blobs/${digest}`,
        signal: AbortSignal.any([closing, slow.signal]),
      });
      response.body.on('error', () => undefined);
      if (response.status === 200) return response;
      await client.discard(response);
      throw unknown(digest);
    } finally {
      clearTimeout(timer);
    }
  }

  async function begin(place: Place, digest: Digest, flight: Flight): Promise<BlobFetch | undefined> {
    if (await isHere(place, digest)) return undefined;
    if (await linkStored(place, digest)) return undefined;
    const response = await request(place, digest);
    const growth = new Set<() => void>();
    const onGrowth = (): void => {
      for (const listener of growth) listener();
    };
    let writer: BlobWriter | undefined;
    try {
      // A blob that cannot fit is refused in words; later, only the connection can be cut.
      await options.space.check(sizeOf(response) ?? 0);
      writer = await blobs.createWriter({ algorithm: digestAlgorithm(digest), onGrowth });
      await metadata.beginUpload({ id: writer.id, name: place.name, startedAt: Date.now() });
    } catch (error) {
      response.body.destroy();
      await writer?.cancel();
      throw asOciError(place, digest, error);
    }
    const { id, commit: become } = writer;
    const { name } = place.client.config;
    const commit = (): Promise<void> =>
      perDigest.run(digest, async () => {
        flight.sealed = true;
        // Bytes that a crash leaves without a repository are found by this note.
        await metadata.collection.expectBlob(digest);
        await become(digest);
        for (const each of flight.names) await metadata.linkBlob(each, digest);
      });
    const fetch = fetchBlob(place, digest, response, {
      ...{ blobs, writer, growth, commit, closing, log },
      checkSpace: (bytes) => options.space.check(bytes),
      onBytes: (bytes) => options.onBytes(name, bytes),
      asOciError: (error) => asOciError(place, digest, error),
    });
    flight.begun = fetch;
    flight.ended = fetch.finished
      .then(
        () => options.torrents.prepare(digest),
        (error: unknown) => {
          log.warn(
            { digest, repository: place.name, err: error },
            'a blob could not be had from its upstream',
          );
          if (error instanceof OciError && error.cause instanceof BlobStoreError) {
            for (const each of flight.names) absent.keep(`${each} ${digest}`, error);
          }
        },
      )
      .then(() => metadata.endUpload(id))
      .catch((error: unknown) => log.warn({ digest, err: error }, 'the end of a fetch was not recorded'))
      .finally(() => flights.delete(digest));
    return fetch;
  }

  function takeOff(place: Place, digest: Digest): Flight {
    if (flights.size >= MAX_FLIGHTS) {
      throw new OciError('UNAVAILABLE', 'too many blobs come from upstreams at once; try again', undefined, {
        headers: { 'retry-after': '1' },
      });
    }
    const { promise, resolve, reject } = Promise.withResolvers<BlobFetch | undefined>();
    const flight: Flight = { names: new Set([place.name]), fetch: promise, sealed: false };
    flights.set(digest, flight);
    asked(place, digest, () => begin(place, digest, flight)).then(
      (fetch) => {
        if (fetch === undefined) flights.delete(digest);
        resolve(fetch);
      },
      (error: unknown) => {
        flights.delete(digest);
        reject(error);
      },
    );
    return flight;
  }

  /** Takes part in a flight that another repository began. Undefined: it ended before that. */
  async function board(place: Place, digest: Digest, flight: Flight): Promise<BlobFetch | undefined> {
    const size = await asked(place, digest, () => head(place, digest));
    const fetch = await flight.fetch.catch(() => undefined);
    if (fetch === undefined) return undefined;
    if (size !== undefined && fetch.size !== undefined && size !== fetch.size) throw unknown(digest);
    if (flight.sealed) {
      await fetch.finished.catch(() => undefined);
      return undefined;
    }
    flight.names.add(place.name);
    return fetch;
  }

  async function start(place: Place, digest: Digest): Promise<BlobFetch | undefined> {
    for (;;) {
      const flight = flights.get(digest) ?? takeOff(place, digest);
      if (flight.names.has(place.name)) return flight.fetch;
      if (await isHere(place, digest)) return undefined;
      const fetch = await board(place, digest, flight);
      if (fetch !== undefined) return fetch;
    }
  }

  return {
    start,
    running: (digest) => flights.get(digest)?.begun,
    async size(place, digest) {
      const flight = flights.get(digest);
      const known = flight?.names.has(place.name) ? flight.begun?.size : undefined;
      const size = known ?? (await asked(place, digest, () => head(place, digest)));
      if (size !== undefined) return size;
      throw new OciError('UNAVAILABLE', 'the upstream does not say how large the blob is');
    },
    count: () => flights.size,
    async settled() {
      const all = [...flights.values()];
      await Promise.allSettled(all.map(async (flight) => (await flight.fetch) && flight.ended));
    },
  };
}

function unknown(digest: Digest): OciError {
  return new OciError('BLOB_UNKNOWN', undefined, { digest });
}

function asOciError({ client }: Place, digest: Digest, error: unknown): unknown {
  if (!(error instanceof BlobStoreError)) return error;
  const extra = { cause: error, headers: { 'retry-after': '10' } };
  if (error.code === 'no-space' || error.code === 'unavailable') return storeError(error);
  if (error.code !== 'digest-mismatch') return new OciError('UNAVAILABLE', error.message, undefined, extra);
  return new OciError(
    'UNAVAILABLE',
    `the upstream ${client.config.name} sent other bytes than ${digest}; they are not kept`,
    undefined,
    extra,
  );
}
