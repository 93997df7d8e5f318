/**
 * Manifests that were verified by their digest, and which digest a tag had when an origin last said
 * so. Both survive restarts and are bounded: the least recently used manifests and the tags that
 * are too old to be served are forgotten.
 */
import type { Level } from 'level';
import { type Digest, parseDigest } from '#oci';

export interface CachedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

export interface CachedTag {
  readonly digest: Digest;
  /** When an origin last confirmed it, in milliseconds since the epoch. */
  readonly confirmedAt: number;
}

export interface ManifestCache {
  get(digest: Digest): Promise<CachedManifest | undefined>;
  put(manifest: CachedManifest): Promise<void>;
  /** Those that were used last since the start, the latest first; then the others. */
  recent(most: number): Digest[];
  /** `key` names repository and tag. */
  tag(key: string): Promise<CachedTag | undefined>;
  putTag(key: string, digest: Digest): Promise<void>;
  forgetTag(key: string): Promise<void>;
}

interface Head {
  readonly mediaType: string;
  readonly size: number;
}

const MAX_MANIFESTS_BYTES = 256 * 1024 * 1024;
const MAX_TAGS = 50_000;

/** `maxTagAgeMs`: a tag that was confirmed longer ago is of no use and is forgotten at the next start. */
export async function openManifestCache(
  db: Level<string, Uint8Array>,
  options: { readonly maxTagAgeMs: number; readonly maxBytes?: number },
): Promise<ManifestCache> {
  const heads = db.sublevel<string, Head>('manifests', { valueEncoding: 'json' });
  const bodies = db.sublevel<string, Buffer>('manifest-bytes', { valueEncoding: 'buffer' });
  const tags = db.sublevel<string, CachedTag>('tags', { valueEncoding: 'json' });
  const maxBytes = options.maxBytes ?? MAX_MANIFESTS_BYTES;

  /** Sizes in the order of use, the least recent first. */
  const sizes = new Map<string, number>();
  let total = 0;
  for await (const [digest, head] of heads.iterator()) {
    sizes.set(digest, head.size);
    total += head.size;
  }
  let tagCount = 0;
  for await (const [key, tag] of tags.iterator()) {
    const tooOld = Math.abs(Date.now() - tag.confirmedAt) > options.maxTagAgeMs;
    if (tooOld || tagCount >= MAX_TAGS) await tags.del(key);
    else tagCount += 1;
  }

  async function forgetLeastUsed(): Promise<void> {
    for (const [digest, size] of sizes) {
      if (total <= maxBytes) return;
      sizes.delete(digest);
      total -= size;
      await db.batch([
        { type: 'del', sublevel: heads, key: digest },
        { type: 'del', sublevel: bodies, key: digest },
      ]);
    }
  }

  return {
    async get(digest) {
      const [head, bytes] = await Promise.all([heads.get(digest), bodies.get(digest)]);
      if (!head || !bytes) return undefined;
      sizes.delete(digest);
      sizes.set(digest, head.size);
      return { digest, mediaType: head.mediaType, bytes };
    },
    async put({ digest, mediaType, bytes }) {
      total += bytes.length - (sizes.get(digest) ?? 0);
      sizes.delete(digest);
      sizes.set(digest, bytes.length);
      await heads.put(digest, { mediaType, size: bytes.length });
      await bodies.put(digest, bytes);
      await forgetLeastUsed();
    },
    recent: (most) => [...sizes.keys()].slice(-most).reverse().map(parseDigest),
    async tag(key) {
      const found = await tags.get(key);
      return found && { digest: parseDigest(found.digest), confirmedAt: found.confirmedAt };
    },
    async putTag(key, digest) {
      const known = await tags.get(key);
      if (!known) {
        // A full table takes no new tags; they are then resolved at the origin only.
        if (tagCount >= MAX_TAGS) return;
        tagCount += 1;
      }
      await tags.put(key, { digest, confirmedAt: Date.now() });
    },
    async forgetTag(key) {
      if ((await tags.get(key)) === undefined) return;
      tagCount -= 1;
      await tags.del(key);
    },
  };
}
