/** The values of the tables, and the one way in which a manifest is taken out. */
import type { Digest, RepositoryName, Tag } from '#oci';
import type { Leases } from './leases.ts';
import type { ManifestRecord, UploadRecord } from './port.ts';
import { del, join, lastPart, type Operation, some, type Tables, under } from './tables.ts';

export function encode(value: ManifestRecord | UploadRecord): Buffer {
  return Buffer.from(JSON.stringify(value));
}

export function decode<T extends ManifestRecord | UploadRecord>(value: Buffer): T {
  return JSON.parse(value.toString()) as T;
}

export function tagKey(name: RepositoryName, tag: Tag): string {
  return join(name, tag.toLowerCase(), tag);
}

export function formatTag(digest: Digest, taggedAt: number): Buffer {
  return Buffer.from(`${digest} ${Math.floor(taggedAt)}`);
}

export function parseTagValue(value: Buffer): { readonly digest: Digest; readonly taggedAt: number } {
  const [digest, taggedAt] = value.toString().split(' ') as [Digest, string | undefined];
  return { digest, taggedAt: Number(taggedAt ?? 0) };
}

/**
 * The operations that remove a manifest with its tags; none when it is unknown. What it referred to
 * and what had it as subject gets a lease, unless something else refers to it. With `doomed` that is
 * removed in its turn when nothing holds it.
 */
export async function manifestRemoval(
  tables: Tables,
  leases: Leases,
  name: RepositoryName,
  digest: Digest,
  doomed?: boolean,
): Promise<Operation[]> {
  const { manifests, bytes, needs, references, tags, pointers, referrers, links } = tables;
  const key = join(name, digest);
  const value = await manifests.get(key);
  if (value === undefined) return [];
  const { subject } = decode<ManifestRecord>(value);
  const operations: Operation[] = [
    del(manifests, key),
    del(bytes, key),
    del(needs, key),
    ...(subject === undefined ? [] : [del(referrers, join(name, subject, digest))]),
    ...(await leases.end('manifest', name, digest)),
  ];
  for await (const pointer of pointers.keys(under(key))) {
    operations.push(del(pointers, pointer), del(tags, tagKey(name, lastPart(pointer) as Tag)));
  }
  const targets = ((await needs.get(key))?.toString() ?? '').split(' ').filter((text) => text !== '');
  for (const target of targets as Digest[]) {
    operations.push(del(references, join(name, target, digest)));
    if (await some(references, join(name, target), (reference) => lastPart(reference) !== digest)) continue;
    if ((await links.get(join(name, target))) !== undefined) {
      operations.push(...(await leases.begin('blob', name, target)));
    }
    if ((await manifests.get(join(name, target))) !== undefined) {
      operations.push(...(await leases.begin('manifest', name, target, doomed)));
    }
  }
  for await (const referrer of referrers.keys(under(key))) {
    const source = lastPart(referrer) as Digest;
    if (targets.includes(source)) continue;
    operations.push(...(await leases.begin('manifest', name, source, doomed)));
  }
  return operations;
}
