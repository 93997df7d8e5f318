/**
 * The download of one blob. It alone changes the blob's state, in this order:
 *
 *   fetching   pieces come over the swarm, and in ranges from the origin while the swarm is slow
 *   verifying  every piece is here; the whole blob's sha256 is compared
 *   complete   the blob is in the cache and seeded      (or)
 *   failed     the reason is kept; verified pieces stay for the next attempt
 *
 * It runs to its end whether clients stay or not. Clients read from it by `follow`.
 */
import { BlobStoreError, type DownloadStore, type PartialBlob } from '#blobs';
import type { Discovery, Membership } from '#discovery';
import { type Digest, OciError } from '#oci';
import type { PeerAddress, PieceSource, PieceStore, Swarm, SwarmDownload } from '#swarm';
import type { Logger } from '#telemetry';
import { FIRST_LEAF_BYTES, type MetainfoCatalog, pieceCount, type Torrent } from '#torrent';
import type { Accounts, Tally } from './accounts/index.ts';
import { createBeginning } from './beginning.ts';
import type { Cache } from './cache.ts';
import type { FallbackLimits } from './fallback-policy.ts';
import { createFollowers, type Follower } from './followers.ts';
import type { AgentMetrics } from './metrics.ts';
import type { OriginClient } from './origin-client.ts';
import { watchProgress } from './progress-watch.ts';
import type { PullAccount } from './pull-account.ts';
import type { Repository } from './repository.ts';
import type { TorrentFeed } from './torrent-feed.ts';

const COUNT_EACH_MS = 1_000;

/** What every download works with. */
export interface DownloadContext {
  readonly store: DownloadStore;
  readonly catalog: MetainfoCatalog;
  readonly swarm: Swarm;
  readonly discovery: Discovery;
  readonly origin: OriginClient;
  readonly cache: Cache;
  readonly metrics: AgentMetrics;
  readonly accounts: Accounts;
  readonly limits: FallbackLimits;
  readonly log: Logger;
}

export interface DownloadStatus {
  readonly digest: Digest;
  readonly size: number;
  readonly state: 'fetching' | 'verifying' | 'complete' | 'failed';
  readonly verifiedBytes: number;
  readonly connectedPeers: number;
  readonly bytesPerSecond: number;
  readonly clients: number;
}

export interface Download {
  /** The blob's, or its draft. */
  readonly metainfo: Torrent;
  /** Where a piece that is here came from. */
  source(piece: number): PieceSource | undefined;
  /** Fills `into` from `position`; all of it must be inside what `Follower.wait` gave out. */
  read(position: number, into: Uint8Array): Promise<void>;
  /** The most that is worth reading at a time from there: little where bytes come leaf by leaf. */
  stepAt(position: number): number;
  /** Reads along from this piece. The bytes stay readable until the follower is closed. */
  follow(piece: number): Follower;
  status(): DownloadStatus;
  /** Resolves when the blob is in the cache and seeded; rejects with an OciError. */
  readonly finished: Promise<void>;
  /** Stops now and keeps the verified pieces. */
  close(): Promise<void>;
}

/** Opens (or resumes) the partial blob and starts. Rejects with an OciError when that cannot be done. */
export async function startDownload(
  context: DownloadContext,
  request: {
    /** Closed when the download has ended; by the caller when it cannot be started. */
    readonly feed: TorrentFeed;
    readonly repository: Repository;
    readonly requestId: string | undefined;
    readonly account: PullAccount;
    /** Members that are known to have it. */
    readonly peers?: readonly PeerAddress[] | undefined;
  },
): Promise<Download> {
  const { store, swarm, discovery, cache, metrics, limits } = context;
  const { feed, account } = request;
  const metainfo = feed.torrent;
  const { digest, infoHash } = metainfo;
  const log = context.log.child({ digest, reqId: request.requestId });
  const startedAt = performance.now();
  const tally = context.accounts.of(request.repository, digest);
  const room = await cache.reserve(digest, metainfo.length);
  const partial = await openPartial(context, metainfo).catch((error: unknown) => {
    room.release(0);
    throw toOciError(error);
  });
  /** Until nobody reads from the partial's file any more, which the blob's becomes. */
  const endUse = cache.use(digest);
  account.sized(metainfo.length, partial.verifiedBytes);
  account.enter('first-peer', performance.now());
  const stopListening = metainfo.growth?.onMore(() => {
    if (feed.whole() !== undefined) account.arrivedAtOrigin(performance.now());
  });
  const stop = new AbortController();
  let state: DownloadStatus['state'] = 'fetching';
  let exchange: SwarmDownload | undefined;

  const beginning = createBeginning(metainfo);
  const followers = createFollowers({
    has: (piece) => partial.has(piece),
    pieces: pieceCount(metainfo),
    begun: () => beginning.verified,
    onWindow: (window) => {
      if (state !== 'fetching') return;
      exchange?.prioritise(window.first, window.last);
    },
    onEmpty: () => letGo(),
  });
  /** Streams read from the partial blob's file also after it became complete. */
  function letGo(): void {
    if (followers.size > 0 || (state !== 'complete' && state !== 'failed')) return;
    partial
      .close()
      .catch((error: unknown) => log.warn({ err: error }, 'partial blob not closed'))
      .finally(endUse);
  }

  async function fetchPieces(): Promise<{ swarmDownload: SwarmDownload; membership: Membership }> {
    const swarmDownload = swarm.download({ metainfo, store: timedWrites(partial, account) });
    swarmDownload.completed.catch(() => undefined);
    exchange = swarmDownload;
    const received = countReceived(swarmDownload, tally);
    const peers = originPeers(metainfo);
    const known = new Set<string>();
    const membership = discovery.join({
      infoHash,
      digest,
      announce: metainfo.sources.announce,
      left: () => metainfo.length - partial.verifiedBytes,
      onPeers: (found) => {
        if (found.length > 0) account.met(performance.now());
        for (const peer of found) if (!peers.has(addressOf(peer))) known.add(addressOf(peer));
        swarmDownload.addPeers(
          found.map((peer) => (peers.has(addressOf(peer)) ? { ...peer, role: 'origin' as const } : peer)),
        );
      },
      onAnswered: () => {
        account.met(performance.now());
        // First, so that the origin is not met whose bytes come over HTTP.
        watching.discovered();
        swarmDownload.discovered();
      },
    });
    swarmDownload.addPeers([...peers.values(), ...(request.peers ?? [])]);
    if (request.peers !== undefined) {
      account.met(performance.now());
      for (const peer of request.peers) known.add(addressOf(peer));
    }
    const watching = watchProgress({
      ...context,
      log,
      limits,
      repository: request.repository,
      requestId: request.requestId,
      metainfo,
      partial,
      swarmDownload,
      followers,
      beginning,
      knownPeers: () => known.size,
      tally,
    });
    swarmDownload.onPiece((piece, source) => {
      watching.pieceArrived(source);
      received.look();
      const bytes = Math.min(metainfo.pieceLength, metainfo.length - piece * metainfo.pieceLength);
      account.arrived(source, bytes, performance.now());
      if (piece === 0) beginning.end();
      followers.arrived(piece);
    });
    let here = false;
    try {
      await Promise.race([swarmDownload.completed, watching.gaveUp, feed.failed, aborted(stop.signal)]);
      here = true;
      return { swarmDownload, membership };
    } catch (error) {
      await Promise.allSettled([swarmDownload.close(), membership.leave()]);
      throw error;
    } finally {
      await watching.stop({ late: here });
      received.end();
    }
  }

  async function run(): Promise<void> {
    const { swarmDownload, membership } = await onceMoreWithRoom(context, metainfo, partial, fetchPieces);
    state = 'verifying';
    account.enter('verify', performance.now());
    const members = swarm.peers().filter((peer) => peer.infoHash === infoHash);
    account.peers(members.map(({ address, role, bytesIn }) => ({ address, role, bytes: bytesIn })));
    try {
      // Clients need not wait for the disk: they have the rest as soon as the digest is right.
      await partial.commit({
        onVerified: () => {
          account.enter('disk', performance.now());
          followers.complete();
        },
        onStored: room.complete,
      });
    } catch (error) {
      await Promise.allSettled([swarmDownload.close(), membership.leave()]);
      throw error;
    }
    state = 'complete';
    account.complete(performance.now());
    metrics.blobFetched((performance.now() - startedAt) / 1000);
    tally.cached(performance.now() - startedAt);
    log.info({ size: metainfo.length, ...swarmDownload.stats() }, 'blob complete');
    // Of a draft every hash is known by now: from here on it is a blob like any other.
    const whole = feed.whole();
    if (whole) {
      await context.catalog.put(whole);
      discovery.hold([whole.infoHash]);
    }
    const seed = await store.open(digest);
    if (seed) swarmDownload.seedFrom(seed);
    else await swarmDownload.close();
    await membership.complete().catch((error: unknown) => log.debug({ err: error }, 'announce failed'));
    letGo();
  }

  const finished = run()
    .catch((error: unknown) => {
      const reason = toOciError(error);
      log.warn({ err: error, verifiedBytes: partial.verifiedBytes }, 'download failed');
      // A blob that is complete stays complete, whatever failed in making it known.
      if (state === 'complete') return letGo();
      state = 'failed';
      followers.fail(reason);
      letGo();
      throw reason;
    })
    .finally(() => {
      feed.close();
      stopListening?.();
      room.release(partial.verifiedBytes);
      cache.trim();
    });
  finished.catch(() => undefined);

  return {
    metainfo,
    source: (piece) => partial.source(piece),
    async read(position, into) {
      if (beginning.read(position, into) || exchange?.recall(position, into) === true) return;
      await partial.read(position, into);
    },
    stepAt: (position) =>
      position < metainfo.pieceLength && metainfo.firstLeaves !== undefined && !partial.has(0)
        ? FIRST_LEAF_BYTES
        : Number.POSITIVE_INFINITY,
    follow: (piece) => followers.add(piece),
    finished,
    status() {
      const stats = state === 'fetching' ? exchange?.stats() : undefined;
      return {
        digest,
        size: metainfo.length,
        state,
        verifiedBytes: partial.verifiedBytes,
        connectedPeers: stats?.connectedPeers ?? 0,
        bytesPerSecond: stats?.downloadRate ?? 0,
        clients: followers.size,
      };
    },
    async close() {
      stop.abort(new OciError('UNAVAILABLE', 'the agent is stopping'));
      await finished.catch(() => undefined);
    },
  };
}

/** A failure in the terms of the distribution API; anything unforeseen is "not now". */
export function toOciError(error: unknown): OciError {
  if (error instanceof OciError) return error;
  if (isNoSpace(error)) return new OciError('NO_SPACE', undefined, undefined, { cause: error });
  const reason = error instanceof Error ? error.message : String(error);
  return new OciError('UNAVAILABLE', `the blob cannot be fetched now: ${reason}`, undefined, {
    cause: error,
  });
}

export function isNoSpace(error: unknown): boolean {
  return error instanceof BlobStoreError && error.code === 'no-space';
}

async function openPartial(context: DownloadContext, metainfo: Torrent): Promise<PartialBlob> {
  try {
    return await context.store.openPartial(metainfo);
  } catch (error) {
    if (!isNoSpace(error) || !(await context.cache.makeRoom(metainfo.length))) throw error;
    return context.store.openPartial(metainfo);
  }
}

/** What the swarm brought, wasted bytes too, as origins count what they send: looked at now and then, and at the end. */
function countReceived(
  swarmDownload: SwarmDownload,
  tally: Tally,
): { readonly look: () => void; readonly end: () => void } {
  let counted = { bytesFromPeers: 0, bytesFromOrigin: 0 };
  let lookedAt = performance.now();
  const end = (): void => {
    const stats = swarmDownload.stats();
    tally.fetched('peer', stats.bytesFromPeers - counted.bytesFromPeers);
    tally.fetched('originSwarm', stats.bytesFromOrigin - counted.bytesFromOrigin);
    counted = stats;
  };
  return {
    end,
    look() {
      const now = performance.now();
      if (now - lookedAt < COUNT_EACH_MS) return;
      lookedAt = now;
      end();
    },
  };
}

/** The same pieces; how long each takes to be written is told to the account. */
function timedWrites(partial: PartialBlob, account: PullAccount): PieceStore {
  return {
    has: partial.has,
    read: partial.read,
    recheck: partial.recheck,
    async write(piece, bytes, source) {
      const from = performance.now();
      await partial.write(piece, bytes, source);
      account.wrote(from, performance.now());
    },
  };
}

/** A full disk: the cache gives way, once. */
async function onceMoreWithRoom<T>(
  context: DownloadContext,
  metainfo: Torrent,
  partial: PartialBlob,
  attempt: () => Promise<T>,
): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    const missing = metainfo.length - partial.verifiedBytes;
    if (!isNoSpace(error) || !(await context.cache.makeRoom(missing))) throw error;
    return attempt();
  }
}

function addressOf(peer: { readonly host: string; readonly port: number }): string {
  return `${peer.host}:${peer.port}`;
}

/** The origin's own listeners, by address: they keep their role whoever names them. */
function originPeers(metainfo: Torrent): Map<string, PeerAddress> {
  return new Map<string, PeerAddress>(
    metainfo.sources.peers.map((member) => [addressOf(member), { ...member, role: 'origin' }]),
  );
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
