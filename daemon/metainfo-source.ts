/**
 * Where a download's metainfo comes from: the origin, asked once however many wait; else what the
 * catalogue kept from an earlier download, so that peers alone suffice while the origin is down.
 *
 * A blob that the origin still fetches from an upstream has no metainfo yet: a draft takes its place.
 *
 * When an image's manifest passes by, the metainfo of its missing layers is asked for at once: the
 * pull that follows then survives the loss of the origin, and saves a round trip a layer.
 */
import type { BlobStore } from '#blobs';
import { type Digest, type Manifest, OciError } from '#oci';
import type { Logger } from '#telemetry';
import { type Metainfo, type MetainfoCatalog, pieceLengthFor } from '#torrent';
import { forgetFirst } from './forget-first.ts';
import type { OriginClient } from './origin-client.ts';
import type { Ask } from './origins.ts';
import { formatRepository, type Repository } from './repository.ts';
import { feedOf, followDraft, type TorrentFeed } from './torrent-feed.ts';

/** Blobs of at most one piece come over HTTP, whole. */
export const SMALL_BLOB_BYTES = pieceLengthFor(0);

export interface MetainfoSource {
  /** To be closed by the caller. @throws OciError BLOB_UNKNOWN, UNAVAILABLE */
  get(repository: Repository, digest: Digest, ask: Ask): Promise<TorrentFeed>;
  /** The size of a blob as a manifest gave it: a hint. */
  sizeHint(digest: Digest): number | undefined;
  /** This image's blobs are about to be asked for. */
  expect(repository: Repository, manifest: Manifest): void;
  close(): Promise<void>;
}

const KEPT_METAINFOS = 256;
const KEPT_HINTS = 20_000;

export function createMetainfoSource(options: {
  readonly origin: OriginClient;
  readonly catalog: MetainfoCatalog;
  readonly store: BlobStore;
  readonly log: Logger;
}): MetainfoSource {
  const { origin, catalog, store, log } = options;
  const fetched = new Map<string, Promise<Metainfo>>();
  const hints = new Map<Digest, number>();
  const closing = new AbortController();
  let background: Promise<void> = Promise.resolve();

  function fromOrigin(repository: Repository, digest: Digest, ask: Ask): Promise<Metainfo> {
    const key = `${formatRepository(repository)} ${digest}`;
    const known = fetched.get(key);
    if (known !== undefined) return known;
    const request = origin.metainfo(repository, digest, { requestId: ask.requestId, signal: closing.signal });
    fetched.set(key, request);
    // Failures are not kept: the next request asks again.
    request.catch(() => fetched.delete(key));
    forgetFirst(fetched, KEPT_METAINFOS);
    return request;
  }

  /** Metainfo that was asked for ahead, or else what the origin has now. */
  async function fetchNow(repository: Repository, digest: Digest, ask: Ask): Promise<TorrentFeed> {
    const ahead = fetched.get(`${formatRepository(repository)} ${digest}`);
    const known = await ahead?.catch(() => undefined);
    if (known !== undefined) return feedOf(known);
    const size = hints.get(digest);
    const resume = (from: number, signal: AbortSignal): ReturnType<OriginClient['torrent']> =>
      origin.torrent(repository, digest, { requestId: ask.requestId, signal, from, size });
    const answer = await resume(0, closing.signal);
    if ('infoHash' in answer) return feedOf(answer);
    return followDraft({
      first: answer,
      resume,
      // What a crash may take of this is known again with the next attempt.
      onWhole: (metainfo) =>
        void catalog
          .put(metainfo, { sync: false })
          .catch((error: unknown) => log.warn({ digest, err: error }, 'metainfo was not kept')),
      log,
    });
  }

  async function expectBlobs(repository: Repository, manifest: Manifest): Promise<void> {
    for (const blob of manifest.blobs) {
      if (closing.signal.aborted) return;
      if (blob.size <= SMALL_BLOB_BYTES || (await store.stat(blob.digest))) continue;
      await fromOrigin(repository, blob.digest, {}).catch((error: unknown) => {
        if (!(error instanceof OciError) || error.code !== 'BLOB_UNKNOWN') throw error;
      });
    }
  }

  return {
    async get(repository, digest, ask) {
      try {
        return await fetchNow(repository, digest, ask);
      } catch (error) {
        const unavailable = error instanceof OciError && error.code === 'UNAVAILABLE';
        const kept = unavailable ? await catalog.get(digest) : undefined;
        if (!kept) throw error;
        log.info(
          { digest, reqId: ask.requestId },
          'no origin; going on with the metainfo of an earlier download',
        );
        return feedOf(kept);
      }
    },
    sizeHint: (digest) => hints.get(digest),
    expect(repository, manifest) {
      for (const blob of manifest.blobs) hints.set(blob.digest, blob.size);
      forgetFirst(hints, KEPT_HINTS);
      background = background
        .then(() => expectBlobs(repository, manifest))
        .catch((error: unknown) => log.debug({ err: error }, 'metainfo not had ahead of its blob'));
    },
    async close() {
      closing.abort(new OciError('UNAVAILABLE', 'the agent is stopping'));
      await background;
    },
  };
}
