/** What is told to the DHT after a start: the blobs and manifests that were used last. */
import type { BlobStore } from '#blobs';
import type { Held } from '#discovery';
import type { Digest } from '#oci';
import type { MetainfoCatalog } from '#torrent';

/** Of what is told, manifests: an image has several blobs. */
const MANIFESTS_SHARE = 1 / 4;

/** What was used last, at most `most`: the manifests, then the blobs. */
export async function recentlyHeld(
  options: {
    readonly store: Pick<BlobStore, 'list'>;
    readonly catalog: Pick<MetainfoCatalog, 'get'>;
    readonly manifests: { recent(most: number): readonly Digest[] };
  },
  most: number,
): Promise<Held[]> {
  const manifests = options.manifests.recent(Math.ceil(most * MANIFESTS_SHARE));
  const blobs = await recentBlobs(options.store, options.catalog, most - manifests.length);
  return [...manifests.map((digest) => ({ digest })), ...blobs];
}

/** The latest first. Holds no more than twice `most` at once. */
async function recentBlobs(
  store: Pick<BlobStore, 'list'>,
  catalog: Pick<MetainfoCatalog, 'get'>,
  most: number,
): Promise<Held[]> {
  let latest: { readonly digest: Digest; readonly lastUsedAt: number }[] = [];
  const shorten = (): void => {
    latest = latest.sort((a, b) => b.lastUsedAt - a.lastUsedAt).slice(0, most);
  };
  for await (const { digest, lastUsedAt } of store.list()) {
    latest.push({ digest, lastUsedAt });
    if (latest.length > 2 * most) shorten();
  }
  shorten();
  const held: Held[] = [];
  for (const { digest } of latest) {
    const metainfo = await catalog.get(digest);
    if (metainfo) held.push({ infoHash: metainfo.infoHash, digest });
  }
  return held;
}
