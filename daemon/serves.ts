/**
 * What clients were given: one record for each answer with bytes of a blob, and for each manifest. Its
 * time is the client's, from its request to the last byte that it took, and says who kept whom waiting.
 */
import type { ByteSource } from '#http';
import type { Digest } from '#oci';
import { forgetFirst } from './forget-first.ts';
import { formatRepository, type Repository } from './repository.ts';

/** In their order; their sum is the time of the answer. */
export const SERVE_PHASES = ['queue', 'agent', 'client'] as const;
type ServePhase = (typeof SERVE_PHASES)[number];

export interface ServeReport {
  readonly digest: Digest;
  readonly repository: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** `cache`: complete before the request; `fetch`: the blob's fetch under way. */
  readonly from: 'cache' | 'fetch';
  /** Of the body, as far as the client took them. */
  readonly bytes: number;
  /** Whole milliseconds; the sum of the phases. */
  readonly wallMs: number;
  readonly phasesMs: Readonly<Record<ServePhase, number>>;
  /** What took longest, in words. */
  readonly slowest: string;
}

export interface ManifestReport {
  readonly repository: string;
  /** Tag or digest, as it was asked for. */
  readonly reference: string;
  readonly digest: Digest;
  readonly startedAt: string;
  /** From the request to the answer, the check of the client's right included. */
  readonly wallMs: number;
  /** No origin confirmed it. */
  readonly stale: boolean;
}

interface Serve {
  /** The same source; what it keeps the answer waiting is counted. */
  timed(source: ByteSource): ByteSource;
  sent(bytes: number): void;
  /** The client has everything, or is gone. */
  end(): void;
}

/** What clients read lazily of one blob: small ranges, all of them together. */
export interface LazyReport {
  readonly digest: Digest;
  readonly repository: string;
  /** Of the first and of the newest read; ISO 8601. */
  readonly startedAt: string;
  readonly lastAt: string;
  readonly reads: number;
  /** Of these reads, those that were answered from memory. */
  readonly fromMemory: number;
  /** What clients were given. */
  readonly bytes: number;
  /** Of all reads, and of the longest; from the request to the last byte of the answer. */
  readonly wallMs: number;
  readonly longestMs: number;
}

export interface Serves {
  /** A range was read lazily and sent. */
  lazyRead(
    repository: Repository,
    digest: Digest,
    read: { readonly from: 'memory' | 'origin'; readonly bytes: number; readonly wallMs: number },
  ): void;
  /** The blob that was read last first; of one digest or of all. */
  lazyReads(digest?: Digest): LazyReport[];
  /** `queuedMs`: since the request came. */
  begin(repository: Repository, digest: Digest, from: ServeReport['from'], queuedMs: number): Serve;
  manifest(
    repository: Repository,
    reference: string,
    answer: { readonly digest: Digest; readonly stale: boolean },
    wallMs: number,
  ): void;
  /** The newest first; of one digest, or of all. */
  serves(digest?: Digest): ServeReport[];
  manifests(digest?: Digest): ManifestReport[];
}

const REMEMBERED = 256;
const WORDS: Readonly<Record<ServePhase, Readonly<Record<ServeReport['from'], string>>>> = {
  queue: {
    cache: "checking the client's right and opening the file",
    fetch: "checking the client's right and beginning the fetch",
  },
  agent: { cache: 'reading from the disk', fetch: 'waiting for verified bytes of the fetch' },
  client: { cache: 'the client, which read slowly', fetch: 'the client, which read slowly' },
};

export function createServes(): Serves {
  const serves: (() => ServeReport)[] = [];
  const digests: Digest[] = [];
  const manifests: ManifestReport[] = [];
  /** By digest; what was read last is at the end. */
  const lazy = new Map<Digest, LazyReport>();

  return {
    begin(repository, digest, from, queuedMs) {
      const begunAt = performance.now();
      const startedAt = new Date(Date.now() - queuedMs).toISOString();
      let bytes = 0;
      let agentMs = 0;
      let readingSince: number | undefined;
      let endedAt: number | undefined;
      serves.push(() => {
        const now = endedAt ?? performance.now();
        const agent =
          agentMs + (readingSince === undefined || endedAt !== undefined ? 0 : now - readingSince);
        const phasesMs = {
          queue: Math.round(queuedMs),
          agent: Math.round(agent),
          client: Math.round(Math.max(0, now - begunAt - agent)),
        };
        const wallMs = phasesMs.queue + phasesMs.agent + phasesMs.client;
        const slowest = slowestOf(from, phasesMs, wallMs);
        return {
          digest,
          repository: formatRepository(repository),
          ...{ startedAt, from, bytes, wallMs, phasesMs, slowest },
        };
      });
      digests.push(digest);
      if (serves.length > REMEMBERED) {
        serves.shift();
        digests.shift();
      }
      return {
        timed: (source) => ({
          ...(source.slow !== undefined && { slow: source.slow }),
          ...(source.stepAt !== undefined && { stepAt: source.stepAt }),
          async read(position, into) {
            readingSince = performance.now();
            try {
              await source.read(position, into);
            } finally {
              agentMs += performance.now() - readingSince;
              readingSince = undefined;
            }
          },
        }),
        sent(count) {
          bytes += count;
        },
        end() {
          endedAt ??= performance.now();
        },
      };
    },
    manifest(repository, reference, { digest, stale }, wallMs) {
      manifests.push({
        repository: formatRepository(repository),
        reference,
        digest,
        startedAt: new Date(Date.now() - wallMs).toISOString(),
        wallMs: Math.round(wallMs),
        stale,
      });
      if (manifests.length > REMEMBERED) manifests.shift();
    },
    lazyRead(repository, digest, { from, bytes, wallMs }) {
      const before = lazy.get(digest);
      const now = Date.now();
      const startedAt = before?.startedAt ?? new Date(now - wallMs).toISOString();
      lazy.delete(digest);
      lazy.set(digest, {
        ...{ digest, repository: formatRepository(repository), startedAt },
        lastAt: new Date(now).toISOString(),
        reads: (before?.reads ?? 0) + 1,
        fromMemory: (before?.fromMemory ?? 0) + (from === 'memory' ? 1 : 0),
        bytes: (before?.bytes ?? 0) + bytes,
        wallMs: (before?.wallMs ?? 0) + wallMs,
        longestMs: Math.max(before?.longestMs ?? 0, wallMs),
      });
      forgetFirst(lazy, REMEMBERED);
    },
    lazyReads: (digest) =>
      [...lazy.values()]
        .filter((report) => digest === undefined || report.digest === digest)
        .map((report) => ({
          ...report,
          wallMs: Math.round(report.wallMs),
          longestMs: Math.round(report.longestMs),
        }))
        .reverse(),
    serves: (digest) =>
      serves
        .filter((_, index) => digest === undefined || digests[index] === digest)
        .map((report) => report())
        .reverse(),
    manifests: (digest) =>
      manifests.filter((entry) => digest === undefined || entry.digest === digest).reverse(),
  };
}

function slowestOf(
  from: ServeReport['from'],
  phasesMs: Readonly<Record<ServePhase, number>>,
  wallMs: number,
): string {
  if (wallMs === 0) return 'nothing took a millisecond';
  const slowest = SERVE_PHASES.reduce((most, name) => (phasesMs[name] > phasesMs[most] ? name : most));
  const percent = Math.round((100 * phasesMs[slowest]) / wallMs);
  return `${WORDS[slowest][from]}: ${phasesMs[slowest]} ms, ${percent} % of the time`;
}
