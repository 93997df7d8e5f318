/** What a pass of the collection removed and why: bounded lists for people, sums and metrics for the rest. */
import type { Digest, RepositoryName, Tag } from '#oci';
import type { Logger, Metrics } from '#telemetry';

/** What was removed: bytes, a blob's place in a repository, a manifest or a tag. */
export type RemovedKind = 'blob' | 'link' | 'manifest' | 'tag';

/**
 * `unreferenced`: no manifest of the repository refers to the blob. `unheld`: no repository holds the
 * bytes. `untagged`: no tag, index or subject holds the manifest. `policy`: a policy took its last tag.
 */
export type Reason =
  | 'unreferenced'
  | 'unheld'
  | 'untagged'
  | 'policy'
  | 'keep-last'
  | 'max-age'
  | 'keep-last and max-age';

export interface Removed {
  readonly kind: RemovedKind;
  readonly reason: Reason;
  readonly digest: Digest;
  readonly repository?: RepositoryName;
  readonly tag?: Tag;
  /** Of the blob or the manifest. */
  readonly bytes?: number;
}

export interface PassReport {
  /** ISO 8601. */
  readonly startedAt: string;
  readonly seconds: number;
  readonly dryRun: boolean;
  readonly removed: Readonly<Record<RemovedKind, number>>;
  /** Bytes of the blobs among them. */
  readonly freedBytes: number;
  /** The first of them; the log has all. */
  readonly items: readonly Removed[];
  readonly failures: number;
}

const MAX_ITEMS = 1_000;
/** What the management API remembers of earlier passes. */
const MAX_RECENT = 1_000;

export type Ledger = ReturnType<typeof createLedger>;

export function createLedger(metrics: Metrics, log: Logger) {
  const removedTotal = metrics.counter<'kind' | 'reason'>({
    name: 'shoal_origin_gc_removed_total',
    help: 'What garbage collection removed, by kind (blob, link, manifest, tag) and reason',
    labels: ['kind', 'reason'],
  });
  const freedTotal = metrics.counter({
    name: 'shoal_origin_gc_freed_bytes_total',
    help: 'Bytes of the blobs that garbage collection removed',
  });
  const failures = metrics.counter({
    name: 'shoal_origin_gc_failures_total',
    help: 'What garbage collection could not look at or remove; it is tried again',
  });
  const passes = metrics.counter({
    name: 'shoal_origin_gc_passes_total',
    help: 'Passes of garbage collection',
  });
  const recent: (Removed & { readonly at: string })[] = [];
  let last: PassReport | undefined;

  return {
    recent: () => [...recent].reverse(),
    last: () => last,
    open(dryRun: boolean) {
      const startedAt = Date.now();
      const removed = { blob: 0, link: 0, manifest: 0, tag: 0 };
      const items: Removed[] = [];
      let freedBytes = 0;
      let failed = 0;
      return {
        dryRun,
        note(item: Removed): void {
          removed[item.kind] += 1;
          if (item.kind === 'blob') freedBytes += item.bytes ?? 0;
          if (items.length < MAX_ITEMS) items.push(item);
          if (dryRun) return;
          removedTotal.inc({ kind: item.kind, reason: item.reason });
          if (item.kind === 'blob') freedTotal.inc(item.bytes ?? 0);
          if (recent.length >= MAX_RECENT) recent.shift();
          recent.push({ at: new Date().toISOString(), ...item });
          log.info(item, 'collected');
        },
        failed(error: unknown, about: object): void {
          failed += 1;
          failures.inc();
          log.error({ err: error, ...about }, 'not collected; it is tried again');
        },
        close(): PassReport {
          const report: PassReport = {
            startedAt: new Date(startedAt).toISOString(),
            seconds: (Date.now() - startedAt) / 1000,
            ...{ dryRun, removed, freedBytes, items, failures: failed },
          };
          passes.inc();
          last = report;
          return report;
        },
      };
    },
  };
}

export type Pass = ReturnType<Ledger['open']>;
