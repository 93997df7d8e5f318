/** The tags that name images now: those of an index name its images too. */
import { type Digest, isIndexMediaType, parseManifest, parseRepositoryName } from '#oci';
import type { MetadataStore } from '../metadata/port.ts';

/** Tags of a repository that are looked at; others are not named. */
const MAX_TAGS = 500;

export async function tagsOf(
  metadata: Pick<MetadataStore, 'tags' | 'tag' | 'manifest' | 'manifestBytes'>,
  repository: string,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, string[]>();
  const name = nameOf(repository);
  if (name === undefined) return found;
  const images = new Map<Digest, readonly Digest[]>();
  const imagesIn = async (digest: Digest): Promise<readonly Digest[]> => {
    const record = await metadata.manifest(name, digest);
    if (record === undefined || !isIndexMediaType(record.mediaType)) return [];
    const bytes = await metadata.manifestBytes(name, digest);
    return bytes === undefined ? [] : parseManifest(bytes, record.mediaType).manifests.map((it) => it.digest);
  };
  const { items } = await metadata.tags(name, { limit: MAX_TAGS });
  for (const tag of items) {
    const digest = await metadata.tag(name, tag);
    if (digest === undefined) continue;
    const inner = images.get(digest) ?? (await imagesIn(digest));
    images.set(digest, inner);
    for (const each of [digest, ...inner]) found.set(each, [...(found.get(each) ?? []), tag]);
  }
  return found;
}

function nameOf(repository: string): ReturnType<typeof parseRepositoryName> | undefined {
  try {
    return parseRepositoryName(repository);
  } catch {
    // A host with a port, as agents name it: no repository here is called so.
    return undefined;
  }
}
