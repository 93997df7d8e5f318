/** The agent's metrics: each is registered here, once; the rooms that count get the counters passed. */
import { createSwarmMetrics, type PieceSource, type SwarmObserver } from '#swarm';
import type { Metrics } from '#telemetry';

/** Where the agent had bytes from that it sent to a client. `cache`: complete before the request. */
export type MirrorSource = 'cache' | 'swarm' | 'origin' | 'upstream';
/** `memory`: leaves read before, or ahead; `blob`: they could not be had, and the blob's download answered. */
export type LazyAnswer = 'memory' | 'origin' | 'blob';
/** What a request to the mirror asked for. */
export type RequestKind = 'base' | 'manifest' | 'blob' | 'tags' | 'referrers' | 'other';

/**
 * How a client's right to something was found: the origin said so now, a little while ago, or a while ago
 * and cannot be asked; it refused; it cannot be asked and nothing is remembered.
 */
export type RightsCheck = 'granted' | 'remembered' | 'stale' | 'refused' | 'unavailable';

export interface AgentMetrics {
  mirrorRequest(kind: RequestKind, status: number): void;
  mirrorBytes(source: MirrorSource, bytes: number): void;
  /** Blob payload that came from the origin by HTTP. */
  fetchedOverHttp(bytes: number): void;
  /** A small range of a blob that is not in the cache, by what answered it. */
  lazyRead(from: LazyAnswer): void;
  blobFetched(seconds: number): void;
  pieceRejected(): void;
  rightsCheck(result: RightsCheck): void;
  /** A blob left the cache: for its limit or for the disk's floor; `others` of the zone hold it, as far as known. */
  evicted(why: 'size' | 'disk', others: number | undefined, bytes: number): void;
  /** A blob of the cache is on the disk once, with containerd's. */
  shared(how: string): void;
  /** To be wired into the swarm's observer. */
  readonly swarm: Pick<SwarmObserver, 'payload' | 'connected' | 'disconnected'>;
}

export function registerMetrics(
  metrics: Metrics,
  cacheTotals: () => { readonly blobs: number; readonly bytes: number },
): AgentMetrics {
  const requests = metrics.counter({
    name: 'shoal_mirror_requests_total',
    help: 'Requests to the mirror by what they asked for and the status of the answer',
    labels: ['kind', 'status'],
  });
  const sent = metrics.counter({
    name: 'shoal_mirror_bytes_total',
    help: 'Bytes of blobs sent to clients by where the agent had them from',
    labels: ['source'],
    known: ['cache', 'swarm', 'origin', 'upstream'].map((source) => ({ source })),
  });
  const swarm = createSwarmMetrics(metrics);
  const fetchedOf = metrics.sums<'from' | 'via'>({
    name: 'shoal_fetch_bytes_total',
    help: 'Blob payload that came over the network by who sent it and how',
    labels: ['from', 'via'],
  });
  const fetched = {
    swarm: {
      peer: fetchedOf({ from: 'peer', via: 'swarm' }),
      origin: fetchedOf({ from: 'origin', via: 'swarm' }),
    },
    http: fetchedOf({ from: 'origin', via: 'http' }),
  };
  const lazyReads = metrics.counter({
    name: 'shoal_lazy_reads_total',
    help: 'Small ranges of blobs that are not in the cache, by what answered them',
    labels: ['from'],
  });
  const fetchSeconds = metrics.histogram({
    name: 'shoal_blob_fetch_seconds',
    help: 'Time from the first request for a blob to its place in the cache',
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
  });
  const checks = metrics.counter({
    name: 'shoal_rights_checks_total',
    help: "Checks of a client's right to pull, by how they ended; none while every origin is open",
    labels: ['result'],
    known: (['granted', 'remembered', 'stale', 'refused', 'unavailable'] as const).map((result) => ({
      result,
    })),
  });
  metrics.gauge({
    name: 'shoal_cache_bytes',
    help: 'Bytes of complete blobs in the cache',
    read: (gauge) => gauge.set(cacheTotals().bytes),
  });
  metrics.gauge({
    name: 'shoal_cache_blobs',
    help: 'Complete blobs in the cache',
    read: (gauge) => gauge.set(cacheTotals().blobs),
  });
  const evictions = metrics.counter({
    name: 'shoal_cache_evictions_total',
    help: 'Blobs that left the cache, by why (its size, the disk) and whether others of the zone hold them (others, last, unknown)',
    labels: ['why', 'copies'],
    known: ['size', 'disk'].flatMap((why) =>
      ['others', 'last', 'unknown'].map((copies) => ({ why, copies })),
    ),
  });
  const evictedBytes = metrics.counter({
    name: 'shoal_cache_evicted_bytes_total',
    help: 'Bytes of blobs that left the cache',
    labels: [],
  });
  const shared = metrics.counter({
    name: 'shoal_cache_shared_total',
    help: "Blobs of which containerd's copy became the only one on disk, as a hard link (linked) or read in place (borrowed)",
    labels: ['how'],
  });
  return {
    mirrorRequest: (kind, status) => requests.inc({ kind, status: String(status) }),
    mirrorBytes: (source, bytes) => sent.inc({ source }, bytes),
    fetchedOverHttp: fetched.http,
    lazyRead: (from) => lazyReads.inc({ from }),
    blobFetched: (seconds) => fetchSeconds.observe(seconds),
    pieceRejected: swarm.pieceRejected,
    rightsCheck: (result) => checks.inc({ result }),
    shared: (how) => shared.inc({ how }),
    evicted(why, others, bytes) {
      evictions.inc({ why, copies: others === undefined ? 'unknown' : others > 0 ? 'others' : 'last' });
      evictedBytes.inc({}, bytes);
    },
    swarm: {
      ...swarm.observer,
      payload(direction, transport, bytes, peer) {
        swarm.observer.payload(direction, transport, bytes, peer);
        if (direction === 'in') fetched.swarm[peer === 'origin' ? 'origin' : 'peer'](bytes);
      },
    },
  };
}

/** Whom a piece is counted for. The origin is the origin, whichever way it sent the piece. */
export function mirrorSource(piece: PieceSource | undefined): MirrorSource {
  switch (piece) {
    case 'origin-http':
    case 'origin-swarm':
      return 'origin';
    case 'upstream':
      return 'upstream';
    default:
      return 'swarm';
  }
}
