/**
 * Scrubbing: every blob is hashed, every manifest too, and every reference and tag followed, one after
 * another while the origin serves. What is damaged is set aside at once, so that nobody is served it;
 * then it is fetched again from the swarm.
 */
import type { BlobStore } from '#blobs';
import type { Digest } from '#oci';
import type { Logger, Metrics } from '#telemetry';
import type { Exclusive } from '../exclusive.ts';
import type { MetadataStore } from '../metadata/port.ts';
import { type RepairParts, repairBlob } from './repair.ts';

export interface Problem {
  readonly kind:
    | 'blob damaged'
    | 'blob missing'
    | 'manifest damaged'
    | 'tag without manifest'
    | 'reference without content';
  readonly digest: string;
  readonly repository?: string;
  readonly tag?: string;
  readonly target?: string;
  /** Whether all is well again. */
  readonly repaired: boolean;
  /** What was done, or why nothing could be. */
  readonly note: string;
}

export interface ScrubState {
  readonly running: boolean;
  /** ISO 8601. */
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly checked: {
    readonly blobs: number;
    readonly bytes: number;
    readonly manifests: number;
    readonly references: number;
    readonly tags: number;
  };
  /** Blobs to check in all, as far as is known. */
  readonly blobs: number;
  readonly found: number;
  readonly repaired: number;
  /** The first of them; the log has all. */
  readonly problems: readonly Problem[];
  /** Why it ended early. */
  readonly error: string | null;
}

export interface Scrubber {
  /** Begins one, unless one is running. */
  start(): ScrubState;
  state(): ScrubState;
  /** Ends a running one after the blob that it is at. */
  close(): Promise<void>;
}

const MAX_PROBLEMS = 1_000;
const STALL_MS = 30_000;

export function createScrubber(
  parts: Omit<RepairParts, 'stallMs' | 'signal'> & {
    readonly blobs: BlobStore;
    readonly metadata: MetadataStore;
    readonly perDigest: Exclusive;
    readonly metrics: Metrics;
    readonly log: Logger;
    readonly stallMs?: number;
  },
): Scrubber {
  const { blobs, metadata, perDigest, metrics, log, stallMs = STALL_MS } = parts;
  const checkedTotal = metrics.counter<'result'>({
    name: 'shoal_origin_scrub_blobs_total',
    help: 'Blobs that scrubbing looked at, by what it found (good, damaged, missing)',
    labels: ['result'],
    known: [{ result: 'good' }, { result: 'damaged' }, { result: 'missing' }],
  });
  const repairedTotal = metrics.counter({
    name: 'shoal_origin_scrub_repaired_total',
    help: 'Blobs that were fetched again from the swarm',
  });
  const stop = new AbortController();
  let current = createState();
  let running: Promise<void> | undefined;

  function createState() {
    return {
      startedAt: null as string | null,
      finishedAt: null as string | null,
      checked: { blobs: 0, bytes: 0, manifests: 0, references: 0, tags: 0 },
      found: 0,
      repaired: 0,
      problems: [] as Problem[],
      error: null as string | null,
    };
  }

  function report(problem: Problem): void {
    current.found += 1;
    if (problem.repaired) current.repaired += 1;
    if (current.problems.length < MAX_PROBLEMS) current.problems.push(problem);
    log[problem.repaired ? 'warn' : 'error'](problem, 'scrub');
  }

  async function checkBlob(digest: Digest): Promise<void> {
    const result = await blobs.verify(digest);
    if (result !== 'good' && !(await metadata.collection.isHeld(digest))) return;
    current.checked.blobs += 1;
    current.checked.bytes += (await blobs.stat(digest))?.size ?? 0;
    checkedTotal.inc({ result });
    if (result === 'good') return;
    // The digest's turn is not held: a push of the blob mends it as well, and must not wait for peers.
    const failure = await repairBlob({ ...parts, stallMs, signal: stop.signal }, digest);
    const repaired = failure === undefined || (await blobs.stat(digest)) !== undefined;
    if (repaired) repairedTotal.inc();
    const aside = result === 'damaged' ? 'set aside; ' : '';
    const note = repaired ? 'fetched from the swarm' : `not repaired: ${failure}; push it again`;
    report({ kind: `blob ${result}`, digest, repaired, note: aside + note });
    // Collected meanwhile: the bytes that came have no repository.
    await perDigest.run(digest, async () => {
      if (!(await metadata.collection.isHeld(digest))) await metadata.collection.expectBlob(digest);
    });
  }

  async function scrub(): Promise<void> {
    for await (const digest of metadata.audit.heldBlobs()) {
      if (stop.signal.aborted) throw new Error('the origin is stopping');
      await checkBlob(digest);
    }
    const count = (what: 'manifests' | 'references' | 'tags') => {
      current.checked[what] += 1;
    };
    for await (const { kind, name, digest, tag, target } of metadata.audit.problems(count)) {
      if (stop.signal.aborted) throw new Error('the origin is stopping');
      if (kind === 'manifest damaged') await metadata.audit.setManifestAside(name, digest);
      const note = kind === 'manifest damaged' ? 'set aside; push it again' : 'push the image again';
      report({
        ...{ kind, digest, repository: name, repaired: false, note },
        ...(tag !== undefined && { tag }),
        ...(target !== undefined && { target }),
      });
    }
  }

  const state = (): ScrubState => ({
    running: running !== undefined,
    ...current,
    blobs: blobs.totals().blobs,
  });
  return {
    state,
    start() {
      if (running === undefined && !stop.signal.aborted) {
        current = createState();
        current.startedAt = new Date().toISOString();
        running = scrub()
          .catch((error: unknown) => {
            current.error = error instanceof Error ? error.message : String(error);
            log.error({ err: error }, 'scrub ended early');
          })
          .finally(() => {
            current.finishedAt = new Date().toISOString();
            running = undefined;
          });
      }
      return state();
    },
    async close() {
      stop.abort();
      await running;
    },
  };
}
