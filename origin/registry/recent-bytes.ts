/**
 * The bytes of manifests that were asked for lately, by digest, so that a rollout reads each from the
 * database once. A digest names the same bytes for ever, so nothing here grows stale; whether a repository
 * has the manifest is for the caller to know.
 */
import type { Digest } from '#oci';

export interface RecentBytes {
  /** What is kept of this digest, else what `load` brings, which is kept then. */
  get(digest: Digest, load: () => Promise<Uint8Array | undefined>): Promise<Buffer | undefined>;
}

/** Keeps `mostBytes` in all, without what was not asked for the longest time. */
export function createRecentBytes(mostBytes: number): RecentBytes {
  /** In order of use: what is used again moves to the end. */
  const kept = new Map<Digest, Buffer>();
  let bytes = 0;

  const drop = (digest: Digest): void => {
    bytes -= kept.get(digest)?.length ?? 0;
    kept.delete(digest);
  };
  const keep = (digest: Digest, content: Buffer): void => {
    drop(digest);
    if (content.length > mostBytes) return;
    kept.set(digest, content);
    bytes += content.length;
    for (const oldest of kept.keys()) {
      if (bytes <= mostBytes) return;
      drop(oldest);
    }
  };
  return {
    async get(digest, load) {
      const known = kept.get(digest);
      if (known) {
        kept.delete(digest);
        kept.set(digest, known);
        return known;
      }
      const loaded = await load();
      if (loaded === undefined) return undefined;
      const content = Buffer.from(loaded.buffer, loaded.byteOffset, loaded.byteLength);
      keep(digest, content);
      return content;
    },
  };
}
