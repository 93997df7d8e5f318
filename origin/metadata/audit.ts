/** Scrubbing's side of the metadata: everything is read, in order, and nothing is kept in memory. */
import { type Digest, type RepositoryName, sha256DigestOf, type Tag } from '#oci';
import type { Exclusive } from '../exclusive.ts';
import type { AuditStore } from './collection-port.ts';
import type { ManifestRecord } from './port.ts';
import { decode, parseTagValue } from './records.ts';
import { del, join, NUL, put, type Tables } from './tables.ts';

export function createAuditStore(tables: Tables, exclusive: Exclusive): AuditStore {
  const { holders, manifests, bytes, references, links, tags, quarantine, write } = tables;
  const isHere = async (name: string, digest: string): Promise<boolean> =>
    (await links.get(join(name, digest))) !== undefined ||
    (await manifests.get(join(name, digest))) !== undefined;

  const isPartial = async (name: string, digest: string): Promise<boolean> => {
    const value = await manifests.get(join(name, digest));
    return value !== undefined && decode<ManifestRecord>(value).partial === true;
  };

  return {
    async *heldBlobs() {
      let last: string | undefined;
      for await (const key of holders.keys()) {
        const digest = key.slice(0, key.indexOf(NUL));
        if (digest !== last) yield digest as Digest;
        last = digest;
      }
    },

    async *problems(seen) {
      for await (const key of manifests.keys()) {
        seen('manifests');
        const [name, digest] = key.split(NUL) as [RepositoryName, Digest];
        const content = await bytes.get(key);
        // Deleted since the iterator's snapshot: no problem.
        if (content === undefined && (await manifests.get(key)) === undefined) continue;
        if (content === undefined || sha256DigestOf(content) !== digest) {
          yield { kind: 'manifest damaged', name, digest };
        }
      }
      for await (const key of references.keys()) {
        seen('references');
        const [name, target, digest] = key.split(NUL) as [RepositoryName, Digest, Digest];
        if (await isHere(name, target)) continue;
        if ((await references.get(key)) === undefined || (await isPartial(name, digest))) continue;
        yield { kind: 'reference without content', name, digest, target };
      }
      for await (const [key, value] of tags.iterator()) {
        seen('tags');
        const [name, , tag] = key.split(NUL) as [RepositoryName, string, Tag];
        const { digest } = parseTagValue(value);
        if ((await manifests.get(join(name, digest))) !== undefined) continue;
        if ((await tags.get(key))?.equals(value)) yield { kind: 'tag without manifest', name, digest, tag };
      }
    },

    setManifestAside: (name, digest) =>
      exclusive.run(name, async () => {
        const key = join(name, digest);
        const content = await bytes.get(key);
        // Pushed again meanwhile.
        if (content !== undefined && sha256DigestOf(content) === digest) return;
        await write([put(quarantine, key, content), del(manifests, key), del(bytes, key)]);
      }),
  };
}
