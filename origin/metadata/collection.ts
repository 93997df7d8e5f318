/** Garbage collection's side of the metadata, on the same tables and turns as the rest. */
import type { Digest } from '#oci';
import type { Exclusive } from '../exclusive.ts';
import type { CollectionStore, TagRecord } from './collection-port.ts';
import type { Leases } from './leases.ts';
import type { ManifestRecord } from './port.ts';
import { decode, manifestRemoval, parseTagValue, tagKey } from './records.ts';
import { del, join, lastPart, type Operation, put, some, type Tables, under } from './tables.ts';

/** Repeating these after a crash does no harm, so they need not be on the disk at once. */
const LATER = { sync: false };

export function createCollectionStore(tables: Tables, leases: Leases, exclusive: Exclusive): CollectionStore {
  const { links, holders, orphans, unhashed, manifests, references, tags, pointers, write } = tables;

  return {
    leases: (queue, before, limit, after) => leases.list(queue, before, limit, after),

    collectBlob: (name, digest, { before, dryRun }) =>
      exclusive.run(name, async () => {
        const kept = { removed: false, last: false };
        const lease = await leases.get('blob', name, digest);
        if (lease === undefined || lease.since >= before) return kept;
        const linked = (await links.get(join(name, digest))) !== undefined;
        if (!linked || (await some(references, join(name, digest)))) {
          if (!dryRun) await write(await leases.end('blob', name, digest), LATER);
          return kept;
        }
        const last = !(await some(holders, digest, (key) => lastPart(key) !== name));
        if (!dryRun) {
          await write([
            del(links, join(name, digest)),
            del(holders, join(digest, name)),
            ...(last ? [put(orphans, digest)] : []),
            ...(await leases.end('blob', name, digest)),
          ]);
        }
        return { removed: true, last };
      }),

    collectManifest: (name, digest, { before, dryRun }) =>
      exclusive.run(name, async () => {
        const key = join(name, digest);
        const lease = await leases.get('manifest', name, digest);
        if (lease === undefined || lease.since >= before) return undefined;
        const value = await manifests.get(key);
        const record = value && decode<ManifestRecord>(value);
        const isHeld =
          record === undefined ||
          (await some(pointers, key)) ||
          (await some(references, key)) ||
          (record.subject !== undefined && (await manifests.get(join(name, record.subject))) !== undefined);
        if (isHeld) {
          if (!dryRun) await write(await leases.end('manifest', name, digest), LATER);
          return undefined;
        }
        if (!dryRun) await write(await manifestRemoval(tables, leases, name, digest, true));
        return record.size;
      }),

    async collectTags(name, judge, { dryRun }) {
      const read = async (): Promise<TagRecord[]> => {
        const records: TagRecord[] = [];
        for await (const [key, value] of tags.iterator(under(name))) {
          records.push({ tag: lastPart(key) as TagRecord['tag'], ...parseTagValue(value) });
        }
        return records;
      };
      const first = judge(await read());
      if (dryRun || first.length === 0) return first;
      return exclusive.run(name, async () => {
        const doomed = judge(await read());
        const operations: Operation[] = [];
        const targets = new Set<Digest>();
        for (const { tag, digest } of doomed) {
          operations.push(del(tags, tagKey(name, tag)), del(pointers, join(name, digest, tag)));
          targets.add(digest);
        }
        const gone = new Set<string>(doomed.map(({ tag }) => tag));
        for (const digest of targets) {
          if (await some(pointers, join(name, digest), (key) => !gone.has(lastPart(key)))) continue;
          operations.push(...(await leases.begin('manifest', name, digest, true)));
        }
        await write(operations);
        return doomed;
      });
    },

    expectBlob: (digest) => write([put(orphans, digest), put(unhashed, digest)], LATER),
    async *unhashed() {
      for await (const digest of unhashed.keys()) yield digest as Digest;
    },
    hashed: (digest) => write([del(unhashed, digest)], LATER),
    async orphans(limit, after) {
      return (await orphans.keys({ ...(after !== undefined && { gt: after }), limit }).all()) as Digest[];
    },
    isHeld: (digest) => some(holders, digest),
    forgetOrphan: (digest) => write([del(orphans, digest)], LATER),
  };
}
