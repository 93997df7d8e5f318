/**
 * The MetadataStore on `level`. Every call that changes something is one batch, written with fsync,
 * and calls that read before they write run one after another for each repository.
 *
 * Keys join their parts with NUL, which no name, tag or digest can hold, so a repository's keys are
 * one range and `a` never runs into `a/b`:
 *
 *     repositories  name                       →
 *     links         name NUL digest            →            blob is part of the repository
 *     holders       digest NUL name            →            the same, the other way round
 *     manifests     name NUL digest            → record
 *     bytes         name NUL digest            → the manifest as it was pushed
 *     tags          name NUL lower NUL tag     → digest     lower: the tag in lower case, for the order
 *     referrers     name NUL subject NUL digest→ record
 *     uploads       id                         → record
 */
import type { Level } from 'level';
import type { Digest, RepositoryName, Tag } from '#oci';
import { createExclusive } from '../exclusive.ts';
import type { ManifestRecord, MetadataStore, NewManifest, Page, PageRequest, UploadRecord } from './port.ts';

const NUL = '\u0000';
const AFTER_NUL = '\u0001';
const DURABLE = { sync: true };
const PRESENT = Buffer.alloc(0);

/** Uses the sublevel `origin` of a database that the caller opened and closes. */
export function createLevelMetadataStore(db: Level<string, Uint8Array>): MetadataStore {
  const table = (name: string) => db.sublevel<string, Buffer>(['origin', name], { valueEncoding: 'buffer' });
  type Table = ReturnType<typeof table>;
  const repositories = table('repositories');
  const links = table('links');
  const holders = table('holders');
  const manifests = table('manifests');
  const bytes = table('bytes');
  const tags = table('tags');
  const referrers = table('referrers');
  const uploads = table('uploads');
  const exclusive = createExclusive();

  const put = (sublevel: Table, key: string, value: Buffer = PRESENT) =>
    ({ type: 'put', sublevel, key, value }) as const;
  const del = (sublevel: Table, key: string) => ({ type: 'del', sublevel, key }) as const;
  const write = (operations: (ReturnType<typeof put> | ReturnType<typeof del>)[]): Promise<void> =>
    db.batch<string, Buffer>(operations, DURABLE);

  /** Keys of `prefix NUL …` after `prefix NUL after`, one more than `limit` to see whether more follow. */
  const range = (prefix: string, after: string | undefined, limit: number) => ({
    gt: join(prefix, after ?? ''),
    lt: `${prefix}${AFTER_NUL}`,
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
      exclusive.run(name, () =>
        write([put(repositories, name), put(links, join(name, digest)), put(holders, join(digest, name))]),
      ),
    hasBlob: async (name, digest) => (await links.get(join(name, digest))) !== undefined,
    unlinkBlob: (name, digest) =>
      exclusive.run(name, async () => {
        const linked = (await links.get(join(name, digest))) !== undefined;
        if (linked) await write([del(links, join(name, digest)), del(holders, join(digest, name))]);
        const [holder] = await holders.keys(range(digest, undefined, 0)).all();
        return { linked, elsewhere: holder !== undefined };
      }),

    putManifest: (name, manifest) =>
      exclusive.run(name, async () => {
        const missing = await findMissing(name, manifest);
        if (missing.length > 0) return missing;
        const { digest, subject, tag } = manifest;
        const record = encode(toRecord(manifest));
        await write([
          put(repositories, name),
          put(manifests, join(name, digest), record),
          put(bytes, join(name, digest), Buffer.from(manifest.bytes)),
          ...(subject === undefined ? [] : [put(referrers, join(name, subject, digest), record)]),
          ...(tag === undefined ? [] : [put(tags, tagKey(name, tag), Buffer.from(digest))]),
        ]);
        return [];
      }),
    async manifest(name, digest) {
      const value = await manifests.get(join(name, digest));
      return value && decode<ManifestRecord>(value);
    },
    manifestBytes: (name, digest) => bytes.get(join(name, digest)),
    deleteManifest: (name, digest) =>
      exclusive.run(name, async () => {
        const value = await manifests.get(join(name, digest));
        if (value === undefined) return false;
        const { subject } = decode<ManifestRecord>(value);
        const operations = [del(manifests, join(name, digest)), del(bytes, join(name, digest))];
        if (subject !== undefined) operations.push(del(referrers, join(name, subject, digest)));
        const { gt, lt } = range(name, undefined, 0);
        for await (const [key, target] of tags.iterator({ gt, lt })) {
          if (target.toString() === digest) operations.push(del(tags, key));
        }
        await write(operations);
        return true;
      }),
    async referrers(name, subject, { limit, after, artifactType }) {
      const found: ManifestRecord[] = [];
      const { gt, lt } = range(join(name, subject), after, 0);
      for await (const value of referrers.values({ gt, lt })) {
        const record = decode<ManifestRecord>(value);
        if (artifactType !== undefined && record.artifactType !== artifactType) continue;
        found.push(record);
        if (found.length > limit) break;
      }
      return pageOf(found, limit);
    },

    async tag(name, tag) {
      const value = await tags.get(tagKey(name, tag));
      return value && (value.toString() as Digest);
    },
    async tags(name, { limit, after }: PageRequest) {
      const from = after === undefined ? undefined : join(after.toLowerCase(), after);
      const keys = await tags.keys(range(name, from, limit)).all();
      return pageOf(
        keys.map((key) => key.slice(key.lastIndexOf(NUL) + 1) as Tag),
        limit,
      );
    },
    deleteTag: (name, tag) =>
      exclusive.run(name, async () => {
        const known = (await tags.get(tagKey(name, tag))) !== undefined;
        if (known) await write([del(tags, tagKey(name, tag))]);
        return known;
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

    close: () => exclusive.settled(),
  };

  async function findMissing(name: RepositoryName, { requires }: NewManifest): Promise<Digest[]> {
    const absent = async (sublevel: Table, digests: readonly Digest[]): Promise<Digest[]> => {
      const found = await sublevel.getMany(digests.map((digest) => join(name, digest)));
      return digests.filter((_, index) => found[index] === undefined);
    };
    const lists = await Promise.all([absent(links, requires.blobs), absent(manifests, requires.manifests)]);
    return [...new Set(lists.flat())];
  }
}

function join(...parts: readonly string[]): string {
  return parts.join(NUL);
}

function tagKey(name: RepositoryName, tag: Tag): string {
  return join(name, tag.toLowerCase(), tag);
}

function pageOf<T>(found: readonly T[], limit: number): Page<T> {
  return { items: found.slice(0, limit), more: found.length > limit };
}

function toRecord(manifest: NewManifest): ManifestRecord {
  const { digest, mediaType, size, subject, artifactType, annotations, pushedAt } = manifest;
  return { digest, mediaType, size, subject, artifactType, annotations, pushedAt };
}

function encode(value: ManifestRecord | UploadRecord): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function decode<T extends ManifestRecord | UploadRecord>(value: Buffer): T {
  return JSON.parse(value.toString()) as T;
}
