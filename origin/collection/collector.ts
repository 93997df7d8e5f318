/**
 * The passes of garbage collection. A pass reads what has become due and nothing else: expired
 * leases, orphaned bytes, and some repositories' tags when rules are set for them. It takes no lock
 * that outlives one item, so a push waits at most for the removal of the very digest that it pushes.
 *
 * A blob's bytes go in this order, in the digest's turn, which pushes and mounts of it wait for:
 *   1. its last place in a repository is taken out and the digest noted as an orphan, in one batch
 *      that looks again at lease and references (a crash from here on: the orphan is found at the start)
 *   2. its torrent is withdrawn from catalogue and tracker, and the swarm stops seeding it
 *   3. the file is unlinked
 *   4. the note is removed
 */
import type { BlobStore } from '#blobs';
import type { Digest, RepositoryName } from '#oci';
import type { Swarm } from '#swarm';
import type { Logger, Metrics } from '#telemetry';
import type { Exclusive } from '../exclusive.ts';
import type { Lease, LeaseQueue } from '../metadata/collection-port.ts';
import type { MetadataStore } from '../metadata/port.ts';
import type { Torrents } from '../torrents.ts';
import { createLedger, type Pass, type PassReport, type Removed } from './report.ts';
import { judgeFor, type TagRules } from './tag-rules.ts';

export interface CollectionConfig extends TagRules {
  /** What a client was told to be here stays for at least this long. Milliseconds. */
  readonly leaseMs: number;
  /** Milliseconds between two passes; undefined: only when asked. */
  readonly intervalMs: number | undefined;
  /** Milliseconds after which a manifest without a tag goes; undefined: never. */
  readonly untaggedMs: number | undefined;
  /** Passes only report what would go. */
  readonly dryRun: boolean;
  /** Milliseconds since the epoch, for leases and ages. By default a clock that no change of the wall clock moves. */
  readonly now: () => number;
  /** Awaited between the last look at a digest and the removal of its bytes, for tests of that moment. */
  readonly beforeRemoval?: (digest: Digest) => Promise<void>;
}

/** What the options' defaults say. */
export const DEFAULT_COLLECTION: CollectionConfig = {
  leaseMs: 4 * 3_600_000,
  intervalMs: 60_000,
  untaggedMs: undefined,
  keepLast: [],
  maxAge: [],
  dryRun: false,
  now: () => performance.timeOrigin + performance.now(),
};

export interface Collector {
  /** Begins the passes. */
  start(): void;
  /** One whole pass now, after a running one; over all repositories. */
  run(options: { readonly dryRun: boolean }): Promise<PassReport>;
  /** Ends all service of a blob that no repository holds. Called in the digest's turn. */
  discard(digest: Digest): Promise<void>;
  running(): boolean;
  last(): PassReport | undefined;
  /** What went lately, the newest first. */
  recent(): readonly (Removed & { readonly at: string })[];
  /** Stops after the item that is being looked at. */
  close(): Promise<void>;
}

/** Entries read at once. */
const BATCH = 256;
/** Repositories whose tags one of the regular passes looks at. */
const SWEEP = 500;

export function createCollector(
  config: CollectionConfig,
  parts: {
    readonly metadata: MetadataStore;
    readonly blobs: BlobStore;
    readonly torrents: Torrents;
    readonly swarm: Swarm | undefined;
    readonly perDigest: Exclusive;
    readonly metrics: Metrics;
    readonly log: Logger;
  },
): Collector {
  const { metadata, blobs, torrents, swarm, perDigest, log } = parts;
  const { collection } = metadata;
  const ledger = createLedger(parts.metrics, log);
  const hasTagRules = config.keepLast.length > 0 || config.maxAge.length > 0;
  const { now } = config;
  let tail: Promise<unknown> = Promise.resolve();
  let active = 0;
  let timer: NodeJS.Timeout | undefined;
  let sweptUpTo: RepositoryName | undefined;
  let closed = false;

  async function discard(digest: Digest): Promise<void> {
    await config.beforeRemoval?.(digest);
    const infoHash = await torrents.forget(digest);
    if (infoHash !== undefined) await swarm?.release(infoHash, digest);
    await blobs.delete(digest);
    await collection.forgetOrphan(digest);
  }

  async function removeBytes(pass: Pass, digest: Digest): Promise<void> {
    const bytes = (await blobs.stat(digest))?.size;
    if (!pass.dryRun) await discard(digest);
    if (bytes !== undefined) pass.note({ kind: 'blob', reason: 'unheld', digest, bytes });
  }

  async function collectOrphans(pass: Pass): Promise<void> {
    let after: Digest | undefined;
    do {
      const digests = await collection.orphans(BATCH, after);
      after = digests.at(-1);
      for (const digest of digests) {
        if (closed) return;
        await guarded(pass, { digest }, () =>
          perDigest.run(digest, async () => {
            if (!(await collection.isHeld(digest))) await removeBytes(pass, digest);
            else if (!pass.dryRun) await collection.forgetOrphan(digest);
          }),
        );
      }
    } while (after !== undefined);
  }

  async function collectLeases(
    pass: Pass,
    queue: LeaseQueue,
    before: number,
    collect: (lease: Lease) => Promise<void>,
  ): Promise<void> {
    let after: Lease | undefined;
    do {
      const leases = await collection.leases(queue, before, BATCH, after);
      after = leases.at(-1);
      for (const lease of leases) {
        if (closed) return;
        await guarded(pass, { repository: lease.name, digest: lease.digest }, () => collect(lease));
      }
    } while (after !== undefined);
  }

  function collectBlobs(pass: Pass, before: number): Promise<void> {
    return collectLeases(pass, 'blob', before, ({ name, digest }) =>
      perDigest.run(digest, async () => {
        const { removed, last } = await collection.collectBlob(name, digest, { before, dryRun: pass.dryRun });
        if (removed) pass.note({ kind: 'link', reason: 'unreferenced', repository: name, digest });
        if (removed && last) await removeBytes(pass, digest);
      }),
    );
  }

  function collectManifests(pass: Pass, queue: 'manifest' | 'doomed', before: number): Promise<void> {
    return collectLeases(pass, queue, before, async ({ name, digest }) => {
      const bytes = await collection.collectManifest(name, digest, { before, dryRun: pass.dryRun });
      if (bytes === undefined) return;
      const reason = queue === 'doomed' ? 'policy' : 'untagged';
      pass.note({ kind: 'manifest', reason, repository: name, digest, bytes });
    });
  }

  async function collectTags(pass: Pass, name: RepositoryName): Promise<void> {
    const judge = judgeFor(name, config, now());
    if (judge === undefined) return;
    await guarded(pass, { repository: name }, async () => {
      for (const { tag, digest, reason } of await collection.collectTags(name, judge, pass)) {
        pass.note({ kind: 'tag', reason, repository: name, tag, digest });
      }
    });
  }

  /** All repositories from the first, or some from where the last pass stopped. */
  async function sweepTags(pass: Pass, all: boolean): Promise<void> {
    let after = all ? undefined : sweptUpTo;
    let looked = 0;
    for (;;) {
      const { items, more } = await metadata.repositories({ limit: BATCH, after });
      for (const name of items) {
        if (closed) return;
        await collectTags(pass, name);
      }
      looked += items.length;
      after = more ? items.at(-1) : undefined;
      if (after === undefined || (!all && looked >= SWEEP)) break;
    }
    if (!all) sweptUpTo = after;
  }

  async function guarded(pass: Pass, about: object, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!closed) pass.failed(error, about);
    }
  }

  async function passOver(dryRun: boolean, all: boolean): Promise<PassReport> {
    const pass = ledger.open(dryRun);
    active += 1;
    try {
      const expired = now() - 2 * config.leaseMs;
      await collectOrphans(pass);
      if (hasTagRules) await sweepTags(pass, all);
      await collectManifests(pass, 'doomed', expired);
      if (config.untaggedMs !== undefined) {
        await collectManifests(pass, 'manifest', Math.min(expired, now() - config.untaggedMs));
      }
      await collectBlobs(pass, expired);
    } catch (error) {
      if (!closed) pass.failed(error, {});
    } finally {
      active -= 1;
    }
    return pass.close();
  }

  function run(dryRun: boolean, all: boolean): Promise<PassReport> {
    const pass = tail.then(() => passOver(dryRun, all));
    tail = pass;
    return pass;
  }

  function schedule(delayMs: number): void {
    timer = setTimeout(() => {
      void run(config.dryRun, config.dryRun).then(() => {
        if (!closed) schedule(delayMs);
      });
    }, delayMs).unref();
  }

  return {
    start() {
      if (config.intervalMs !== undefined) schedule(config.intervalMs);
    },
    run: ({ dryRun }) => run(dryRun || config.dryRun, true),
    discard,
    running: () => active > 0,
    last: ledger.last,
    recent: ledger.recent,
    async close() {
      closed = true;
      clearTimeout(timer);
      await tail;
    },
  };
}
