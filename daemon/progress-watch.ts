/**
 * Watches one download, and steps in with ranges from the origin when the swarm does not deliver.
 * One timer while the blob is being fetched; what to do is decided by the fallback policy.
 */
import type { PartialBlob } from '#blobs';
import { OciError } from '#oci';
import type { PieceSource, SwarmDownload } from '#swarm';
import type { Logger } from '#telemetry';
import { knownPieces, pieceCount, type Torrent } from '#torrent';
import {
  decide,
  type FallbackLimits,
  nextRun,
  nextWidth,
  type PieceRun,
  type Progress,
  waitPatienceMs,
  wantsHeadStart,
} from './fallback-policy.ts';
import type { Followers } from './followers.ts';
import type { AgentMetrics } from './metrics.ts';
import type { OriginClient } from './origin-client.ts';
import { fetchRun, MAX_RUN_BYTES } from './range-fallback.ts';
import type { Repository } from './repository.ts';

const TICK_MS = 250;
/** After the origin could not be read it is asked again no sooner than this. */
const RETRY_MS = 1_000;
/** An origin that sends wrong pieces is not asked for this blob again. */
const MAX_WRONG_RUNS = 3;

export interface ProgressWatch {
  pieceArrived(source: PieceSource): void;
  /** Discovery has answered. Resolves when the head start that this gave, if it did, is over. */
  discovered(): Promise<void>;
  /** A client reads, from another place than before. */
  clientMoved(): void;
  /** Rejects when the download should be given up. Never resolves. */
  readonly gaveUp: Promise<never>;
  stop(): Promise<void>;
}

export function watchProgress(options: {
  readonly origin: OriginClient;
  readonly metrics: AgentMetrics;
  readonly limits: FallbackLimits;
  readonly log: Logger;
  readonly repository: Repository;
  readonly requestId: string | undefined;
  readonly metainfo: Torrent;
  readonly partial: PartialBlob;
  readonly swarmDownload: SwarmDownload;
  readonly followers: Followers;
  readonly knownPeers: () => number;
}): ProgressWatch {
  const { limits, log, metainfo, partial, swarmDownload, followers } = options;
  const stopped = new AbortController();
  const giveUp = Promise.withResolvers<never>();
  giveUp.promise.catch(() => undefined);
  let lastSwarmPieceAt = performance.now();
  let lastByteAt = lastSwarmPieceAt;
  let swarmBroughtPieces = false;
  /** When there was last nothing to fetch: everything is here whose hash is known, and the origin fetches the rest. */
  let idleAt = lastSwarmPieceAt;
  let swarmBytes = 0;
  let lastSwarmByteAt = lastSwarmPieceAt;
  let running: Promise<void> | undefined;
  let originFailedAt: number | undefined;
  let wrongRuns = 0;
  let discovered = false;
  let headStarted = false;
  /** Pieces of the last run; 0 when the swarm has brought a piece since. */
  let width = 0;
  const most = Math.max(1, Math.floor(MAX_RUN_BYTES / metainfo.pieceLength));
  const waitMs = waitPatienceMs(limits);

  function observe(now: number): Progress {
    const stats = swarmDownload.stats();
    const bytes = stats.bytesFromPeers + stats.bytesFromOrigin;
    if (bytes > swarmBytes) {
      swarmBytes = bytes;
      lastSwarmByteAt = now;
      lastByteAt = now;
    }
    const waiting = followers.positions()[0]?.waitingSince;
    return {
      sinceSwarmPieceMs: now - Math.max(idleAt, lastSwarmPieceAt),
      swarmBroughtPieces,
      sinceSwarmByteMs: now - Math.max(idleAt, lastSwarmByteAt),
      sinceAnyByteMs: now - Math.max(idleAt, lastByteAt),
      longestWaitMs: waiting === undefined ? undefined : now - Math.max(idleAt, waiting),
      swarmBytesPerSecond: stats.downloadRate,
      knownPeers: options.knownPeers(),
      connectedPeers: stats.connectedPeers,
      originFailed: originFailedAt !== undefined,
    };
  }

  const missingRun = (maxPieces: number) =>
    nextRun({
      has: (piece) => piece >= knownPieces(metainfo) || partial.has(piece),
      pieces: pieceCount(metainfo),
      wanted: followers.positions().map((position) => position.piece),
      maxPieces,
    });

  async function takeRun(run: PieceRun): Promise<void> {
    log.debug({ run }, 'taking pieces from the origin over HTTP');
    await fetchRun({
      origin: options.origin,
      repository: options.repository,
      metainfo,
      run,
      has: (piece) => partial.has(piece),
      offer: async (piece, bytes) => {
        const right = await swarmDownload.offer(piece, bytes, 'origin-http');
        if (!right) options.metrics.pieceRejected();
        return right;
      },
      onBytes: (bytes) => {
        lastByteAt = performance.now();
        options.metrics.fetchedOverHttp(bytes);
      },
      ask: { requestId: options.requestId, signal: stopped.signal },
    });
  }

  async function stepIn(run: PieceRun): Promise<void> {
    try {
      await takeRun(run);
      originFailedAt = undefined;
    } catch (error) {
      if (stopped.signal.aborted) return;
      originFailedAt = performance.now();
      if (error instanceof RangeError) wrongRuns += 1;
      log.info({ err: error }, 'the origin brought no pieces over HTTP');
    }
  }

  function headStart(): void {
    if (headStarted || running || stopped.signal.aborted) return;
    const clients = followers.size;
    if (!wantsHeadStart({ discovered, knownPeers: options.knownPeers(), swarmBroughtPieces, clients }))
      return;
    headStarted = true;
    const run = missingRun(1);
    if (run) begin(run);
  }

  function begin(run: PieceRun): void {
    running = stepIn(run).finally(() => {
      running = undefined;
      tick();
    });
  }

  function tick(): void {
    if (stopped.signal.aborted) return;
    const run = missingRun(nextWidth(width, most));
    const now = performance.now();
    if (!run) {
      idleAt = now;
      return;
    }
    const decision = decide(observe(now), limits, waitMs);
    if (decision === 'give up') {
      giveUp.reject(new OciError('UNAVAILABLE', 'neither the swarm nor the origin makes progress'));
      return;
    }
    const resting = originFailedAt !== undefined && now - originFailedAt < RETRY_MS;
    if (decision === 'swarm' || running || resting || wrongRuns >= MAX_WRONG_RUNS) return;
    width = run.last - run.first + 1;
    begin(run);
  }

  const timer = setInterval(tick, TICK_MS);
  return {
    pieceArrived(source) {
      lastByteAt = performance.now();
      if (source !== 'peer' && source !== 'origin-swarm') return;
      lastSwarmPieceAt = lastByteAt;
      swarmBroughtPieces = true;
      width = 0;
    },
    async discovered() {
      discovered = true;
      headStart();
      await running;
    },
    clientMoved: headStart,
    gaveUp: giveUp.promise,
    async stop() {
      clearInterval(timer);
      stopped.abort();
      await running;
    },
  };
}
