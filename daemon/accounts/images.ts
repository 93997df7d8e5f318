/**
 * Which image a blob is counted for. A request for a blob names a repository, not an image: so it is the image of that
 * repository whose manifest was asked for last and names the blob. Layers that images share go to the newest of them.
 */
import { createBoundedMap } from '#bounded';
import { type Digest, parseManifest } from '#oci';
import { formatRepository, type Repository } from '../repository.ts';

export interface Images {
  /** Somebody asked for this manifest and got it. */
  asked(
    repository: Repository,
    manifest: { readonly digest: Digest; readonly mediaType: string; readonly bytes: Uint8Array },
  ): void;
  /** The image that a blob is counted for; undefined: its manifest was not asked for here. */
  of(repository: string, blob: Digest): Digest | undefined;
}

const KEPT_BLOBS = 20_000;
const KEPT_MANIFESTS = 500;

export function createImages(): Images {
  const images = createBoundedMap<string, Digest>(KEPT_BLOBS);
  const blobs = createBoundedMap<Digest, readonly Digest[]>(KEPT_MANIFESTS);

  /** Of an index, none: it names images. */
  const blobsOf = ({ digest, mediaType, bytes }: Parameters<Images['asked']>[1]): readonly Digest[] => {
    const known = blobs.get(digest);
    if (known !== undefined) return known;
    let found: readonly Digest[] = [];
    try {
      found = parseManifest(bytes, mediaType).blobs.map((blob) => blob.digest);
    } catch {
      // A media type that Shoal does not know: its blobs are counted for the repository.
    }
    blobs.set(digest, found);
    return found;
  };

  return {
    asked(repository, manifest) {
      const name = formatRepository(repository);
      for (const blob of blobsOf(manifest)) images.set(`${name} ${blob}`, manifest.digest);
    },
    of: (repository, blob) => images.get(`${repository} ${blob}`),
  };
}
