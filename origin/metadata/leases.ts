/**
 * Leases: what a client was told is here, by when. An answer that a client may rely on protects its
 * content for at least `leaseMs`. So that an answer seldom costs a write, a lease is kept for twice
 * that and begun anew only when less than half is left; what a manifest refers to needs none, because
 * it gets one when the last reference goes (`docs/decisions/0032`).
 *
 * A lease is a record and, in the same batch, its place in a queue by time, so that whoever looks for
 * expired leases reads only those.
 */
import { createBoundedMap } from '#bounded';
import type { Digest, RepositoryName } from '#oci';
import type { Lease, LeaseKind, LeaseQueue } from './collection-port.ts';
import { del, join, NUL, type Operation, put, type Tables } from './tables.ts';

/** Answers that are remembered, so that the next one reads nothing: some 200 bytes each. */
const MAX_REMEMBERED = 20_000;

interface LeaseRecord {
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** A policy wants the manifest gone when nothing holds it any more. */
  readonly doomed: boolean;
}

export type Leases = ReturnType<typeof createLeases>;

export function createLeases(
  { leases, queue }: Tables,
  { leaseMs, now }: { readonly leaseMs: number; readonly now: () => number },
) {
  /** When content was last known to be protected, by a lease or by a reference. */
  const remembered = createBoundedMap<string, number>(MAX_REMEMBERED);
  const keyOf = (kind: LeaseKind, name: RepositoryName, digest: Digest) => join(kind, name, digest);
  const queueKey = (kind: LeaseKind, name: RepositoryName, digest: Digest, { since, doomed }: LeaseRecord) =>
    join(doomed ? 'doomed' : kind, String(since).padStart(15, '0'), name, digest);

  async function get(
    kind: LeaseKind,
    name: RepositoryName,
    digest: Digest,
  ): Promise<LeaseRecord | undefined> {
    const value = await leases.get(keyOf(kind, name, digest));
    if (value === undefined) return undefined;
    const [since, doomed] = value.toString().split(' ');
    return { since: Number(since), doomed: doomed !== undefined };
  }

  async function end(kind: LeaseKind, name: RepositoryName, digest: Digest): Promise<Operation[]> {
    remembered.delete(keyOf(kind, name, digest));
    const before = await get(kind, name, digest);
    if (before === undefined) return [];
    return [del(leases, keyOf(kind, name, digest)), del(queue, queueKey(kind, name, digest, before))];
  }

  return {
    get,
    /** The operations that end it. */
    end,
    /** The operations that begin it now; whether it is doomed stays as it was unless it is said. */
    async begin(
      kind: LeaseKind,
      name: RepositoryName,
      digest: Digest,
      doomed?: boolean,
    ): Promise<Operation[]> {
      const before = await get(kind, name, digest);
      const record = { since: Math.floor(now()), doomed: doomed ?? before?.doomed ?? false };
      return [
        ...(before === undefined ? [] : [del(queue, queueKey(kind, name, digest, before))]),
        put(
          leases,
          keyOf(kind, name, digest),
          Buffer.from(record.doomed ? `${record.since} doomed` : `${record.since}`),
        ),
        put(queue, queueKey(kind, name, digest, record)),
      ];
    },
    /** Whether content that was protected at `since` is so for another `leaseMs` at least. */
    isFresh: (since: number | undefined): boolean => since !== undefined && now() - since < leaseMs,
    remembered: (kind: LeaseKind, name: RepositoryName, digest: Digest): number | undefined =>
      remembered.get(keyOf(kind, name, digest)),
    remember(kind: LeaseKind, name: RepositoryName, digest: Digest, since: number): void {
      remembered.set(keyOf(kind, name, digest), since);
    },
    /** Those of the queue that began before `before`, oldest first, after `after`. */
    async list(kind: LeaseQueue, before: number, limit: number, after?: Lease): Promise<Lease[]> {
      const from = after
        ? queueKey(after.kind, after.name, after.digest, { since: after.since, doomed: after.doomed })
        : join(kind, '');
      const until = join(kind, String(Math.max(0, Math.floor(before))).padStart(15, '0'));
      const keys = await queue.keys({ gt: from, lt: until, limit }).all();
      return keys.map((key) => {
        const [, since, name, digest] = key.split(NUL) as [string, string, RepositoryName, Digest];
        return {
          kind: kind === 'blob' ? 'blob' : 'manifest',
          doomed: kind === 'doomed',
          ...{ name, digest, since: Number(since) },
        };
      });
    },
    now,
  };
}
