/**
 * The metainfo that a program keeps, by digest and by infohash. Small records carry the two names,
 * large ones the piece hashes, so that listing 100,000 blobs reads only the small ones.
 */
import type { Level } from 'level';
import { inBatches } from '#database';
import { type Digest, digestHex, digestOfHex } from '#oci';
import { type InfoHash, parseInfoHash } from './info-hash.ts';
import { encodeMetainfo, type Metainfo, parseMetainfo } from './metainfo.ts';

export interface MetainfoCatalog {
  get(digest: Digest): Promise<Metainfo | undefined>;
  byInfoHash(infoHash: InfoHash): Promise<Metainfo | undefined>;
  /**
   * Kept when this resolves; with `sync: false` it may be lost with the machine's power, with what is
   * written later. Putting the same blob again replaces its sources.
   */
  put(metainfo: Metainfo, options?: { readonly sync: boolean }): Promise<void>;
  delete(digest: Digest): Promise<void>;
  /** The infohashes of all blobs that are here when this is called, some at a time. */
  infoHashes(): AsyncIterable<readonly InfoHash[]>;
}

/** `level` is the program's database; the catalogue keeps to sublevels of its own. */
export function openMetainfoCatalog(level: Level<string, Uint8Array>): MetainfoCatalog {
  const metainfo = level.sublevel<string, Uint8Array>('metainfo', { valueEncoding: 'view' });
  const digests = level.sublevel<string, string>('infohash', { valueEncoding: 'utf8' });
  const get = async (digest: Digest): Promise<Metainfo | undefined> => {
    const bytes = await metainfo.get(digest);
    return bytes === undefined ? undefined : parseMetainfo(bytes);
  };
  return {
    get,
    async byInfoHash(infoHash) {
      const hex = await digests.get(infoHash);
      return hex === undefined ? undefined : get(digestOfHex(hex));
    },
    async put(value, { sync } = { sync: true }) {
      await level.batch<string, string | Uint8Array>(
        [
          { type: 'put', sublevel: metainfo, key: value.digest, value: encodeMetainfo(value) },
          {
            type: 'put',
            sublevel: digests,
            key: value.infoHash,
            value: digestHex(value.digest),
          },
        ],
        { sync },
      );
    },
    async delete(digest) {
      const value = await get(digest);
      if (value === undefined) return;
      await level.batch<string, string | Uint8Array>(
        [
          { type: 'del', sublevel: metainfo, key: digest },
          { type: 'del', sublevel: digests, key: value.infoHash },
        ],
        {},
      );
    },
    infoHashes: () => parsed(inBatches(digests.keys())),
  };
}

async function* parsed(batches: AsyncIterable<readonly string[]>): AsyncGenerator<InfoHash[]> {
  for await (const keys of batches) {
    yield keys.map((key) => parseInfoHash(key)).filter((infoHash) => infoHash !== undefined);
  }
}
