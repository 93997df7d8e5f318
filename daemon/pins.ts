/** Blobs that an operator wants kept: they stay when others are evicted, also after a restart. By digest, whether the blob is here or not. */
import type { Level } from 'level';
import { type Digest, parseDigest } from '#oci';

export interface Pins {
  has(digest: Digest): boolean;
  list(): readonly Digest[];
  /** Survives a crash once it resolves. @throws RangeError when there are MAX_PINS */
  add(digest: Digest): Promise<void>;
  /** False: it was not pinned. */
  remove(digest: Digest): Promise<boolean>;
}

/** All of them are in memory. */
const MAX_PINS = 100_000;

export async function openPins(db: Level<string, Uint8Array>): Promise<Pins> {
  const records = db.sublevel<string, string>('pins', { valueEncoding: 'utf8' });
  const pinned = new Set<Digest>();
  for await (const key of records.keys()) pinned.add(parseDigest(key));
  return {
    has: (digest) => pinned.has(digest),
    list: () => [...pinned],
    async add(digest) {
      if (pinned.has(digest)) return;
      if (pinned.size >= MAX_PINS) throw new RangeError(`${MAX_PINS} blobs are pinned, which is the most`);
      // Kept from now on, acknowledged when it is durable.
      pinned.add(digest);
      try {
        await db.batch([{ type: 'put', sublevel: records, key: digest, value: new Date().toISOString() }], {
          sync: true,
        });
      } catch (error) {
        pinned.delete(digest);
        throw error;
      }
    },
    async remove(digest) {
      if (!pinned.has(digest)) return false;
      await db.batch([{ type: 'del', sublevel: records, key: digest }], { sync: true });
      pinned.delete(digest);
      return true;
    },
  };
}
