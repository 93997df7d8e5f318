/** Which blobs are told to the DHT after a start: those that were used last. */
import type { BlobStore } from '#blobs';
import type { HeldBlob } from '#discovery';
import type { Digest } from '#oci';
import type { MetainfoCatalog } from '#torrent';

/** The blobs that were used last, at most `most`, the latest first. Holds no more than twice as many at once. */
export async function recentBlobs(
  store: Pick<BlobStore, 'list'>,
  catalog: Pick<MetainfoCatalog, 'get'>,
  most: number,
): Promise<HeldBlob[]> {
  let latest: { readonly digest: Digest; readonly lastUsedAt: number }[] = [];
  const shorten = (): void => {
    latest = latest.sort((a, b) => b.lastUsedAt - a.lastUsedAt).slice(0, most);
  };
  for await (const { digest, lastUsedAt } of store.list()) {
    latest.push({ digest, lastUsedAt });
    if (latest.length > 2 * most) shorten();
  }
  shorten();
  const held: HeldBlob[] = [];
  for (const { digest } of latest) {
    const metainfo = await catalog.get(digest);
    if (metainfo) held.push({ infoHash: metainfo.infoHash, digest });
  }
  return held;
}
