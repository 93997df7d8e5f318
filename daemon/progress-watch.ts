/**
 * Watches one download, and steps in with ranges from the origin when the swarm does not deliver.
 * One timer while the blob is being fetched; what to do is decided by the fallback policy.
 */
import type { PartialBlob } from '#blobs';
import type { HttpBody } from '#http';
import { OciError } from '#oci';
import type { PieceSource, SwarmDownload } from '#swarm';
import type { Logger } from '#telemetry';
import { knownPieces, pieceCount, type Torrent } from '#torrent';
import type { Tally } from './accounts/index.ts';
import type { Beginning } from './beginning.ts';
import {
  decide,
  type FallbackLimits,
  nextRun,
  nextWidth,
  type PieceRun,
  type Progress,
  readsAlone,
  servesWaiting,
  waitPatienceMs,
} from './fallback-policy.ts';
import type { Followers } from './followers.ts';
import type { AgentMetrics } from './metrics.ts';
import type { OriginClient } from './origin-client.ts';
import { MAX_RUN_BYTES, readRun, requestRun } from './range-fallback.ts';
import type { Repository } from './repository.ts';

const TICK_MS = 250;
/** After the origin could not be read it is asked again no sooner than this. */
const RETRY_MS = 1_000;
/** What is on its way when the download is over has this long to come, so that it is counted. */
const LATE_MS = 2_000;
/** An origin that sends wrong pieces is not asked for this blob again. */
const MAX_WRONG_RUNS = 3;

export interface ProgressWatch {
  pieceArrived(source: PieceSource): void;
  /** Discovery has answered. */
  discovered(): void;
  /** Rejects when the download should be given up. Never resolves. */
  readonly gaveUp: Promise<never>;
  /** `late`: what the origin has on its way is still counted, after this resolved; else it is cut. */
  stop(options: { readonly late: boolean }): Promise<void>;
}

interface AskedRun {
  readonly run: PieceRun;
  readonly body: Promise<HttpBody>;
}

export function watchProgress(options: {
  readonly origin: OriginClient;
  readonly metrics: AgentMetrics;
  readonly tally: Tally;
  readonly limits: FallbackLimits;
  readonly log: Logger;
  readonly repository: Repository;
  readonly requestId: string | undefined;
  readonly metainfo: Torrent;
  readonly partial: PartialBlob;
  readonly swarmDownload: SwarmDownload;
  readonly followers: Followers;
  readonly beginning: Beginning;
  readonly knownPeers: () => number;
}): ProgressWatch {
  const { limits, log, metainfo, partial, swarmDownload, followers } = options;
  const stopped = new AbortController();
  const cut = new AbortController();
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
  let alone = false;
  /** Pieces of the last run; 0 when the swarm has brought a piece since. */
  let width = 0;
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

  const mostPieces = Math.max(1, Math.floor(MAX_RUN_BYTES / metainfo.pieceLength));

  const missingRun = (maxPieces: number): PieceRun | undefined =>
    nextRun({
      has: (piece) => piece >= knownPieces(metainfo) || partial.has(piece),
      pieces: pieceCount(metainfo),
      wanted: followers.positions().map((position) => position.piece),
      maxPieces,
    });

  function request(run: PieceRun | undefined): AskedRun | undefined {
    if (!run) return undefined;
    log.debug({ run }, 'taking pieces from the origin over HTTP');
    const body = requestRun({
      origin: options.origin,
      repository: options.repository,
      metainfo,
      run,
      ask: { requestId: options.requestId, signal: cut.signal },
    });
    // Whoever reads it sees why.
    body.catch(() => undefined);
    return { run, body };
  }

  async function take({ run, body }: AskedRun, goesOn?: (from: number) => boolean): Promise<void> {
    await readRun({
      body: await body,
      run,
      has: (piece) => partial.has(piece),
      download: swarmDownload,
      ...(goesOn && { goesOn }),
      over: stopped.signal,
      offer: async (piece, bytes) => {
        const right = await swarmDownload.offer(piece, bytes, 'origin-http');
        if (!right && !stopped.signal.aborted) options.metrics.pieceRejected();
        return right;
      },
      onFilled: (piece, whole, filled) => {
        if (piece === 0 && options.beginning.grown(whole, filled)) followers.grown();
      },
      onBytes: (bytes) => {
        lastByteAt = performance.now();
        options.metrics.fetchedOverHttp(bytes);
        options.tally.fetched('originHttp', bytes);
      },
    });
  }

  const goesOnAlone = (): boolean =>
    !stopped.signal.aborted &&
    readsAlone({
      discovered,
      knownPeers: options.knownPeers(),
      connectedAgents: swarmDownload.stats().connectedAgents,
      originFailed: originFailedAt !== undefined,
    });

  /**
   * The first piece alone: in a rollout the others are there by the time it is. Then all that is missing as one
   * stream, because each new one would begin slowly; in bounded runs only while clients wait at several places.
   */
  async function readAlone(): Promise<void> {
    let length = 1;
    while (goesOnAlone()) {
      const asked = request(missingRun(length));
      if (!asked) return;
      const bounded = asked.run.last - asked.run.first < mostPieces;
      await take(
        asked,
        (from) => goesOnAlone() && (bounded || servesWaiting(followers.positions(), from, mostPieces)),
      );
      const { first } = missingRun(1) ?? { first: 0 };
      length = servesWaiting(followers.positions(), first, mostPieces)
        ? Number.POSITIVE_INFINITY
        : mostPieces;
    }
  }

  async function stepIn(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      originFailedAt = undefined;
    } catch (error) {
      if (stopped.signal.aborted) return;
      originFailedAt = performance.now();
      if (error instanceof RangeError) wrongRuns += 1;
      log.info({ err: error }, 'the origin brought no pieces over HTTP');
    }
  }

  function begin(work: () => Promise<void>): void {
    running = stepIn(work).finally(() => {
      running = undefined;
      if (alone) {
        alone = false;
        swarmDownload.spareOrigin(false);
      }
      tick();
    });
  }

  function tick(): void {
    if (stopped.signal.aborted) return;
    const run = missingRun(nextWidth(width, mostPieces));
    const now = performance.now();
    if (!run) {
      idleAt = now;
      return;
    }
    const progress = observe(now);
    // A stream that has dried up: the origin may yet answer in the swarm.
    if (alone && progress.sinceAnyByteMs >= limits.stallMs) swarmDownload.spareOrigin(false);
    const decision = decide(progress, limits, waitMs);
    if (decision === 'give up') {
      giveUp.reject(new OciError('UNAVAILABLE', 'neither the swarm nor the origin makes progress'));
      return;
    }
    const resting = originFailedAt !== undefined && now - originFailedAt < RETRY_MS;
    if (decision === 'swarm' || running || resting || wrongRuns >= MAX_WRONG_RUNS) return;
    width = run.last - run.first + 1;
    begin(async () => {
      const asked = request(run);
      if (asked) await take(asked);
    });
  }

  function cutLater(reading: Promise<void>): void {
    const late = setTimeout(() => cut.abort(), LATE_MS);
    void reading.finally(() => clearTimeout(late));
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
    discovered() {
      if (discovered) return;
      discovered = true;
      if (running || !goesOnAlone()) return;
      alone = true;
      swarmDownload.spareOrigin(true);
      begin(readAlone);
    },
    gaveUp: giveUp.promise,
    async stop({ late }) {
      clearInterval(timer);
      stopped.abort();
      if (late && running) {
        cutLater(running);
        return;
      }
      cut.abort();
      await running;
    },
  };
}
