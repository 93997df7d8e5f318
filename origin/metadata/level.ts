/**
 * The MetadataStore on `level`. Every call that changes something is one batch, written with fsync,
 * and calls that read before they write run one after another for each repository. What refers to
 * what is kept in both directions by the same batch that makes it so; there is nothing to count, and
 * nothing that a crash could leave half done. The tables are in `tables.ts`.
 */
import type { Level } from 'level';
import type { Digest, RepositoryName, Tag } from '#oci';
import { createExclusive } from '../exclusive.ts';
import { createAuditStore } from './audit.ts';
import { createCollectionStore } from './collection.ts';
import { createLeases } from './leases.ts';
import type { ManifestRecord, MetadataStore, NewManifest, Page, PageRequest, UploadRecord } from './port.ts';
import { decode, encode, formatTag, manifestRemoval, parseTagValue, tagKey } from './records.ts';
import { del, join, lastPart, type Operation, openTables, put, some, type Table, under } from './tables.ts';

/** How exact the time of a tag's confirmation is: a busy tag costs a write this often. */
const CONFIRMED_MS = 10_000;

/** Uses the sublevel `origin` of a database that the caller opened and closes. */
export function createLevelMetadataStore(
  db: Level<string, Uint8Array>,
  options: {
    /** What a client was told to be here stays for at least this long. */
    readonly leaseMs: number;
    /** Milliseconds since the epoch. */
    readonly now: () => number;
  },
): MetadataStore {
  const tables = openTables(db);
  const { repositories, links, holders, orphans, manifests, bytes, needs, references } = tables;
  const { tags, pointers, referrers, uploads, write } = tables;
  const { now } = options;
  const leases = createLeases(tables, options);
  const exclusive = createExclusive();
  const collection = createCollectionStore(tables, leases, exclusive);

  const page = (prefix: string, after: string | undefined, limit: number) => ({
    ...under(prefix, after),
    limit: limit + 1,
  });

  return {
    async repositories({ limit, after }) {
      const names = await repositories
        .keys({ ...(after !== undefined && { gt: after }), limit: limit + 1 })
        .all();
      return pageOf(names as RepositoryName[], limit);
    },
    hasRepository: async (name) => (await repositories.get(name)) !== undefined,

    linkBlob: (name, digest) =>
      exclusive.run(name, async () =>
        write([
          put(repositories, name),
          put(links, join(name, digest)),
          put(holders, join(digest, name)),
          del(orphans, digest),
          ...(await leases.begin('blob', name, digest)),
        ]),
      ),
    hasBlob: async (name, digest) => (await links.get(join(name, digest))) !== undefined,
    async relyOnBlob(name, digest) {
      if (leases.isFresh(leases.remembered('blob', name, digest))) return true;
      const since = await protectedSince(name, digest, 'blob');
      if (since !== undefined) {
        leases.remember('blob', name, digest, since);
        return true;
      }
      return exclusive.run(name, async () => {
        if ((await links.get(join(name, digest))) === undefined) return false;
        await write(await leases.begin('blob', name, digest));
        leases.remember('blob', name, digest, now());
        return true;
      });
    },
    unlinkBlob: (name, digest) =>
      exclusive.run(name, async () => {
        const linked = (await links.get(join(name, digest))) !== undefined;
        const elsewhere = await some(holders, digest, (key) => lastPart(key) !== name);
        if (linked) {
          await write([
            del(links, join(name, digest)),
            del(holders, join(digest, name)),
            ...(elsewhere ? [] : [put(orphans, digest)]),
            ...(await leases.end('blob', name, digest)),
          ]);
        }
        return { linked, elsewhere };
      }),

    putManifest: (name, manifest) =>
      exclusive.run(name, async () => {
        const missing = manifest.partial ? [] : await findMissing(name, manifest);
        if (missing.length > 0) return missing;
        const { digest, subject, requires } = manifest;
        const record = encode(toRecord(manifest));
        const targets = [...new Set([...requires.blobs, ...requires.manifests])];
        const named = [...new Set(manifest.tags)];
        const operations: Operation[] = [
          put(repositories, name),
          put(manifests, join(name, digest), record),
          put(bytes, join(name, digest), Buffer.from(manifest.bytes)),
          put(needs, join(name, digest), Buffer.from(targets.join(' '))),
          ...targets.map((target) => put(references, join(name, target, digest))),
          ...(subject === undefined ? [] : [put(referrers, join(name, subject, digest), record)]),
          ...(await pointTags(name, named, digest)),
        ];
        if (named.length === 0) operations.push(...(await leases.begin('manifest', name, digest, false)));
        await write(operations);
        return [];
      }),
    async manifest(name, digest) {
      const value = await manifests.get(join(name, digest));
      return value && decode<ManifestRecord>(value);
    },
    manifestBytes: (name, digest) => bytes.get(join(name, digest)),
    async relyOnManifest(name, digest) {
      if (leases.isFresh(leases.remembered('manifest', name, digest))) return true;
      let since = await protectedSince(name, digest, 'manifest');
      if (since === undefined && (await some(pointers, join(name, digest)))) since = now();
      if (since !== undefined) {
        leases.remember('manifest', name, digest, since);
        return true;
      }
      return exclusive.run(name, async () => {
        if ((await manifests.get(join(name, digest))) === undefined) return false;
        await write(await leases.begin('manifest', name, digest));
        leases.remember('manifest', name, digest, now());
        return true;
      });
    },
    deleteManifest: (name, digest) =>
      exclusive.run(name, async () => {
        const operations = await manifestRemoval(tables, leases, name, digest);
        await write(operations);
        return operations.length > 0;
      }),
    async referrers(name, subject, { limit, after, artifactType, maxBytes = Number.POSITIVE_INFINITY }) {
      const items: ManifestRecord[] = [];
      let size = 0;
      for await (const value of referrers.values(under(join(name, subject), after))) {
        const record = decode<ManifestRecord>(value);
        if (artifactType !== undefined && record.artifactType !== artifactType) continue;
        size += value.length;
        if (items.length === limit || (items.length > 0 && size > maxBytes)) return { items, more: true };
        items.push(record);
      }
      return { items, more: false };
    },

    async tag(name, tag) {
      const value = await tags.get(tagKey(name, tag));
      return value && parseTagValue(value).digest;
    },
    async tagAge(name, tag) {
      const value = await tags.get(tagKey(name, tag));
      if (value === undefined) return undefined;
      const { digest, taggedAt } = parseTagValue(value);
      return { digest, ageMs: Math.max(0, now() - taggedAt) };
    },
    async confirmTag(name, tag, digest) {
      const isConfirmed = async (): Promise<boolean> => {
        const value = await tags.get(tagKey(name, tag));
        const before = value && parseTagValue(value);
        return before?.digest === digest && Math.abs(now() - before.taggedAt) < CONFIRMED_MS;
      };
      if (await isConfirmed()) return (await manifests.get(join(name, digest))) !== undefined;
      return exclusive.run(name, async () => {
        if ((await manifests.get(join(name, digest))) === undefined) return false;
        await write(await pointTags(name, [tag], digest));
        return true;
      });
    },
    async tags(name, { limit, after }: PageRequest) {
      const from = after === undefined ? undefined : join(after.toLowerCase(), after);
      const keys = await tags.keys(page(name, from, limit)).all();
      return pageOf(
        keys.map((key) => lastPart(key) as Tag),
        limit,
      );
    },
    deleteTag: (name, tag) =>
      exclusive.run(name, async () => {
        const value = await tags.get(tagKey(name, tag));
        if (value === undefined) return undefined;
        const { digest } = parseTagValue(value);
        await write([
          del(tags, tagKey(name, tag)),
          del(pointers, join(name, digest, tag)),
          ...(await leases.begin('manifest', name, digest)),
        ]);
        return digest;
      }),

    beginUpload: (upload) => write([put(uploads, upload.id, encode(upload))]),
    async upload(id) {
      const value = await uploads.get(id);
      return value && decode<UploadRecord>(value);
    },
    // Not synced: an upload that comes back after a power cut has no bytes, and is found to be unknown.
    endUpload: (id) => uploads.del(id),
    async *uploads() {
      for await (const value of uploads.values()) yield decode<UploadRecord>(value);
    },

    collection,
    audit: createAuditStore(tables, exclusive),
    close: () => exclusive.settled(),
  };

  /** Since when a lease or a manifest protects it well enough; a reference does now. */
  async function protectedSince(
    name: RepositoryName,
    digest: Digest,
    kind: 'blob' | 'manifest',
  ): Promise<number | undefined> {
    const lease = await leases.get(kind, name, digest);
    if (leases.isFresh(lease?.since)) return lease?.since;
    const at = now();
    return (await some(references, join(name, digest))) ? at : undefined;
  }

  /** Points tags at a manifest; the manifests that they pointed at before get a lease. */
  async function pointTags(
    name: RepositoryName,
    named: readonly Tag[],
    digest: Digest,
  ): Promise<Operation[]> {
    const operations: Operation[] = [];
    const left = new Set<Digest>();
    for (const tag of named) {
      const before = await tags.get(tagKey(name, tag));
      const target = before && parseTagValue(before).digest;
      if (target !== undefined && target !== digest) {
        operations.push(del(pointers, join(name, target, tag)));
        left.add(target);
      }
      operations.push(
        put(tags, tagKey(name, tag), formatTag(digest, now())),
        put(pointers, join(name, digest, tag)),
      );
    }
    for (const target of left) operations.push(...(await leases.begin('manifest', name, target)));
    return operations;
  }

  async function findMissing(name: RepositoryName, { requires }: NewManifest): Promise<Digest[]> {
    const absent = async (sublevel: Table, digests: readonly Digest[]): Promise<Digest[]> => {
      const found = await sublevel.getMany(digests.map((digest) => join(name, digest)));
      return digests.filter((_, index) => found[index] === undefined);
    };
    const lists = await Promise.all([absent(links, requires.blobs), absent(manifests, requires.manifests)]);
    return [...new Set(lists.flat())];
  }
}

function pageOf<T>(found: readonly T[], limit: number): Page<T> {
  return { items: found.slice(0, limit), more: found.length > limit };
}

function toRecord(manifest: NewManifest): ManifestRecord {
  const { digest, mediaType, size, subject, artifactType, annotations, pushedAt, partial } = manifest;
  return { digest, mediaType, size, subject, artifactType, annotations, pushedAt, partial };
}
