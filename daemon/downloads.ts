/**
 * The downloads that run, one a digest however many clients ask (single flight).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Digest, type Manifest, OciError } from '#oci';
import { busy } from './crowd.ts';
import {
  type Download,
  type DownloadContext,
  type DownloadStatus,
  startDownload,
  toOciError,
} from './download.ts';
import { type MetainfoSource, SMALL_BLOB_BYTES } from './metainfo-source.ts';
import type { Ask } from './origins.ts';
import type { PullAccount } from './pull-account.ts';
import type { Pulls } from './pulls.ts';
import type { Repository } from './repository.ts';
import { keepSmallBlob } from './small-blob.ts';
import type { TorrentFeed } from './torrent-feed.ts';
import type { Asks } from './trackerless/index.ts';
import { fetchOffered } from './trackerless/offered.ts';
import type { Unfinished } from './unfinished.ts';

export type OpenedBlob =
  /** Complete by now: open it in the store. */
  | { readonly kind: 'cached' }
  /** Fetched whole, for this request or one beside it. */
  | { readonly kind: 'small'; readonly bytes: Buffer; readonly from: 'origin' | 'swarm' }
  /**
   * On its way by metainfo that nobody has proved: no byte of it is given before `proved` resolves, and then it is in the cache. The size
   * is a manifest's, which has its digest.
   */
  | { readonly kind: 'unproved'; readonly size: number; readonly proved: Promise<void> }
  | { readonly kind: 'download'; readonly download: Download };

export interface Downloads {
  /** Joins the blob's download or starts it. @throws OciError BLOB_UNKNOWN, UNAVAILABLE, NO_SPACE */
  open(repository: Repository, digest: Digest, ask: Ask): Promise<OpenedBlob>;
  /** The size of a blob that is not in the cache, without fetching it. @throws OciError */
  size(repository: Repository, digest: Digest, ask: Ask): Promise<number>;
  /** The download of this blob, if one runs now. */
  running(digest: Digest): Download | undefined;
  /** This image's blobs are about to be asked for. Its small ones are fetched now. */
  expect(repository: Repository, manifest: Manifest): void;
  status(): DownloadStatus[];
  /** Stops every download; verified pieces stay. */
  close(): Promise<void>;
}

/** After a failure the resumed request of the same client is answered at once, within this time. */
const FAILED_WINDOW_MS = 5_000;
/** How long that answer may take to find out whether the origin is back. */
const PROBE_MS = 1_000;
/** A blob whose pieces are right and whose digest is not will be the same next time. */
const WRONG_WINDOW_MS = 60_000;

/**
 * Who asks for a blob that is not proved gets status and headers after this: containerd waits 30 s for them. Not at once: a refusal
 * sends a client to the next registry, a cut answer does so only by the way of another request. Longer than a search takes,
 * so that somebody has offered the blob by then.
 */
const HEADERS_AFTER_MS = 12_000;

/** Small blobs of one image that are fetched before they are asked for; no file system stacks more layers. */
const MOST_AHEAD = 128;

interface Failure {
  readonly error: OciError;
  readonly until: number;
  /** Trying again can help as soon as the origin answers. */
  readonly curable: boolean;
}

export function createDownloads(
  context: DownloadContext & {
    readonly metainfos: MetainfoSource;
    readonly unfinished: Unfinished;
    readonly pulls: Pulls;
    /** Asked for metainfo while no origin answers; undefined: nobody is. */
    readonly members?: Asks | undefined;
    /** A blob has come to the cache. */
    readonly onCached: (digest: Digest) => void;
    /** Downloads that run at once; more are refused. */
    readonly mostDownloads: number;
    /** Default HEADERS_AFTER_MS. */
    readonly headersAfterMs?: number | undefined;
  },
): Downloads {
  const { store, origin, metainfos, unfinished, pulls, mostDownloads, log } = context;
  const running = new Map<Digest, Promise<OpenedBlob>>();
  const active = new Set<Download>();
  /** By metainfo that nobody has proved yet: no client reads from these. */
  const unproved = new Set<Download>();
  const failures = new Map<Digest, Failure>();
  let closing = false;
  /** What is fetched before anybody asks for it. */
  let ahead: Promise<void> = Promise.resolve();

  function noteFailure(digest: Digest, error: OciError): void {
    const now = performance.now();
    for (const [other, failure] of failures) if (failure.until <= now) failures.delete(other);
    const wrong = causeCode(error) === 'digest-mismatch';
    failures.set(digest, {
      error,
      until: now + (wrong ? WRONG_WINDOW_MS : FAILED_WINDOW_MS),
      curable: error.code === 'UNAVAILABLE' && !wrong,
    });
  }

  /** Refuses at once what failed a moment ago, unless the origin can be had again. */
  async function refuseIfHopeless(repository: Repository, digest: Digest, ask: Ask): Promise<void> {
    const failure = failures.get(digest);
    if (!failure || failure.until <= performance.now()) return;
    if (!failure.curable) throw failure.error;
    const signal = AbortSignal.timeout(PROBE_MS);
    await origin.blobSize(repository, digest, { requestId: ask.requestId, signal }).catch(() => {
      throw failure.error;
    });
    failures.delete(digest);
  }

  async function swarmDownload(
    repository: Repository,
    digest: Digest,
    ask: Ask,
    account: PullAccount,
  ): Promise<OpenedBlob> {
    let feed: TorrentFeed;
    try {
      feed = await metainfos.get(repository, digest, ask);
    } catch (error) {
      const opened = await fromMembers(repository, digest, ask, account, toOciError(error));
      if (!opened) throw error;
      return opened;
    }
    const { length } = feed.torrent;
    if (length <= SMALL_BLOB_BYTES && length > 0) {
      const small = await smallBlob(repository, digest, ask, account).catch((error: unknown) => {
        if (error instanceof OciError && error.code === 'UNAVAILABLE') return undefined;
        throw error;
      });
      if (small) return small;
    }
    account.enter('prepare', performance.now());
    // Begun before it is in the catalogue: what is there and not begun is taken for complete.
    const end = await unfinished.begin(digest, length);
    let download: Download;
    try {
      // A client waits. What a crash may take of this is known again with the next attempt.
      const metainfo = feed.whole();
      if (metainfo) await context.catalog.put(metainfo, { sync: false });
      download = await startDownload(context, { feed, repository, requestId: ask.requestId, account });
    } catch (error) {
      feed.close();
      await end(false);
      throw error;
    }
    active.add(download);
    // From here on the store or the failure answers: nobody joins a download that has ended.
    const ended = (error?: unknown): Promise<void> => {
      active.delete(download);
      running.delete(digest);
      if (error !== undefined) account.failed(toOciError(error).message, performance.now());
      if (error === undefined) context.onCached(digest);
      if (error !== undefined && !closing) noteFailure(digest, toOciError(error));
      return end(error === undefined);
    };
    download.finished
      .then(() => ended(), ended)
      .catch((error: unknown) => log.error({ digest, err: error }, 'the end of a download was not recorded'));
    return { kind: 'download', download };
  }

  /** No origin answers: by the metainfo that other members offer. */
  async function fromMembers(
    repository: Repository,
    digest: Digest,
    ask: Ask,
    account: PullAccount,
    reason: OciError,
  ): Promise<OpenedBlob | undefined> {
    const { members } = context;
    if (reason.code !== 'UNAVAILABLE' || !members || closing) return undefined;
    const size = metainfos.sizeHint(digest);
    const came = fetchOffered({
      ...{ context, members, unfinished, repository, digest, size, account, running: unproved },
      stopped: () => closing,
      requestId: ask.requestId,
    }).catch((error: unknown) => {
      if (!closing) noteFailure(digest, toOciError(error));
      throw error;
    });
    if (size !== undefined && (await isLate(came))) {
      const proved = came
        .then((found) => {
          if (!found) throw reason;
          context.onCached(digest);
        })
        .finally(() => running.delete(digest));
      proved.catch((error: unknown) => account.failed(toOciError(error).message, performance.now()));
      return { kind: 'unproved', size, proved };
    }
    if (!(await came)) return undefined;
    context.onCached(digest);
    return { kind: 'cached' };
  }

  /** Whether it takes longer than a client is kept without headers. A failure is not late. */
  async function isLate(came: Promise<unknown>): Promise<boolean> {
    const over = new AbortController();
    const wait = delay(context.headersAfterMs ?? HEADERS_AFTER_MS, true, { signal: over.signal });
    try {
      return await Promise.race([came.then(() => false), wait]);
    } finally {
      over.abort();
      wait.catch(() => undefined);
    }
  }

  async function smallBlob(
    repository: Repository,
    digest: Digest,
    ask: Ask,
    account: PullAccount,
  ): Promise<OpenedBlob> {
    account.enter('transfer', performance.now());
    const startedAt = performance.now();
    const { bytes, source } = await smallBytes(repository, digest, ask);
    await keepSmallBlob(context, repository, digest, { bytes, source, startedAt });
    const now = performance.now();
    account.sized(bytes.length, 0);
    account.arrived(source, bytes.length, now);
    account.complete(now);
    context.onCached(digest);
    return { kind: 'small', bytes, from: source === 'peer' ? 'swarm' : 'origin' };
  }

  /** From the origin; while none answers, from another member: a digest proves them, wherever they come from. */
  async function smallBytes(
    repository: Repository,
    digest: Digest,
    ask: Ask,
  ): Promise<{ readonly bytes: Buffer; readonly source: 'origin-http' | 'peer' }> {
    try {
      const bytes = await origin.smallBlob(repository, digest, SMALL_BLOB_BYTES, {
        requestId: ask.requestId,
      });
      return { bytes, source: 'origin-http' };
    } catch (error) {
      const unavailable = error instanceof OciError && error.code === 'UNAVAILABLE';
      const bytes = unavailable && !closing ? await context.members?.smallBlob(digest) : undefined;
      if (bytes === undefined) throw error;
      return { bytes, source: 'peer' };
    }
  }

  async function start(repository: Repository, digest: Digest, ask: Ask): Promise<OpenedBlob> {
    // A download may have ended between the caller's look into the store and this one.
    if (await store.stat(digest)) return { kind: 'cached' };
    await refuseIfHopeless(repository, digest, ask);
    const account = pulls.begin(repository, digest);
    try {
      return await fetchBlob(repository, digest, ask, account);
    } catch (error) {
      account.failed(toOciError(error).message, performance.now());
      throw error;
    }
  }

  async function fetchBlob(
    repository: Repository,
    digest: Digest,
    ask: Ask,
    account: PullAccount,
  ): Promise<OpenedBlob> {
    const hint = metainfos.sizeHint(digest);
    if (hint !== undefined && hint <= SMALL_BLOB_BYTES) {
      try {
        return await smallBlob(repository, digest, ask, account);
      } catch (error) {
        if (!(error instanceof OciError) || error.code !== 'UNAVAILABLE') throw error;
        account.enter('metainfo', performance.now());
      }
    }
    return swarmDownload(repository, digest, ask, account);
  }

  /** Who asks for a complete blob found its file damaged: the download that is ending cannot serve it. */
  async function join(known: Promise<OpenedBlob>, anew: () => Promise<OpenedBlob>): Promise<OpenedBlob> {
    const blob = await known;
    if (blob.kind !== 'download' || blob.download.status().state !== 'complete') return blob;
    await blob.download.finished;
    return anew();
  }

  function open(repository: Repository, digest: Digest, ask: Ask): Promise<OpenedBlob> {
    const known = running.get(digest);
    if (known !== undefined) return join(known, () => open(repository, digest, ask));
    if (closing) return Promise.reject(new OciError('UNAVAILABLE', 'the agent is stopping'));
    if (running.size >= mostDownloads) {
      return Promise.reject(busy(`${mostDownloads} blobs are being fetched (max.downloads)`));
    }
    const opened = start(repository, digest, ask).then(
      (blob) => {
        if (blob.kind === 'cached' || blob.kind === 'small') running.delete(digest);
        return blob;
      },
      (error: unknown) => {
        running.delete(digest);
        throw toOciError(error);
      },
    );
    running.set(digest, opened);
    return opened;
  }

  /**
   * The config and other small blobs of an image come right after its manifest: of a digest alone no member of the swarm
   * can be asked, and podman asks for the config last, when the origin may be gone.
   */
  async function fetchSmallBlobs(repository: Repository, manifest: Manifest): Promise<void> {
    const small = manifest.blobs.filter(({ size }) => size <= SMALL_BLOB_BYTES);
    for (const { digest } of small.slice(0, MOST_AHEAD)) {
      if (closing) return;
      if (await store.stat(digest)) continue;
      await open(repository, digest, {}).catch((error: unknown) =>
        log.debug({ digest, err: error }, 'a small blob was not had ahead of its request'),
      );
    }
  }

  return {
    open,
    async size(repository, digest, ask) {
      const opened = await running.get(digest)?.catch(() => undefined);
      if (opened?.kind === 'download') return opened.download.metainfo.length;
      if (opened?.kind === 'small') return opened.bytes.length;
      if (opened?.kind === 'unproved') return opened.size;
      try {
        return await origin.blobSize(repository, digest, ask);
      } catch (error) {
        const kept = error instanceof OciError && error.code === 'UNAVAILABLE';
        const metainfo = kept ? await context.catalog.get(digest) : undefined;
        const size = metainfo?.length ?? (kept ? metainfos.sizeHint(digest) : undefined);
        if (size === undefined) throw error;
        return size;
      }
    },
    running: (digest) => [...active].find((download) => download.metainfo.digest === digest),
    expect(repository, manifest) {
      metainfos.expect(repository, manifest);
      ahead = ahead
        .then(() => fetchSmallBlobs(repository, manifest))
        .catch((error: unknown) => log.debug({ err: error }, 'small blobs not had ahead of their request'));
    },
    status: () => [...active, ...unproved].map((download) => download.status()),
    async close() {
      closing = true;
      await metainfos.close();
      await Promise.allSettled([...unproved].map((download) => download.close()));
      await ahead;
      await Promise.allSettled(running.values());
      await Promise.allSettled([...active].map((download) => download.close()));
    },
  };
}

function causeCode(error: OciError): unknown {
  return error.cause instanceof Error && 'code' in error.cause ? error.cause.code : undefined;
}
