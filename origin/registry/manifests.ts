/** Manifests and indexes, by tag and by digest (distribution-spec, "Pulling manifests", "Pushing Manifests"). */
import { readBody } from '#http';
import {
  type Digest,
  digestAlgorithm,
  digestOf,
  isManifestMediaType,
  MAX_MANIFEST_BYTES,
  type Manifest,
  OciError,
  parseManifest,
  parseReference,
  parseTag,
  type Reference,
  type RepositoryName,
  type Tag,
} from '#oci';
import type { ManifestRecord } from '../metadata/port.ts';
import { namesEntity, type Registry, type Verb } from './call.ts';
import { candidates, findAnywhere, findIn } from './lookup.ts';

/** GET and HEAD /v2/<name>/manifests/<reference>: the bytes as they were pushed. */
export const getManifest: Verb<'manifest'> = async (registry, call) => {
  const { request, reply, path } = call;
  const reference = parseReference(path.reference);
  const place = await locate(registry, candidates(call), reference);
  if (place === undefined) throw unknown(path.reference);
  const { digest, mediaType, size } = place.found.record;
  // RFC 7234, section 5.5.1: the upstream could not confirm it.
  if (place.found.stale) reply.header('warning', '110 shoal "Response is Stale"');
  if (reference.kind === 'digest' && !(await registry.metadata.relyOnManifest(place.name, digest))) {
    throw unknown(path.reference);
  }
  const etag = `"${digest}"`;
  reply.headers({ 'docker-content-digest': digest, etag });
  if (namesEntity(request.headers['if-none-match'], etag)) return reply.status(304).send();
  reply.headers({ 'content-type': mediaType, 'content-length': size });
  if (request.method === 'HEAD') return reply.send();
  const bytes = await registry.recentManifests.get(digest, () =>
    registry.metadata.manifestBytes(place.name, digest),
  );
  if (bytes === undefined) throw unknown(path.reference);
  return reply.send(bytes);
};

/** A manifest of the largest size names some forty thousand blobs. */
const LOOKED_FOR_AT_ONCE = 128;
/** Tags that one request may set; each is one more entry in its batch. */
const MAX_TAGS = 100;

/** PUT /v2/<name>/manifests/<reference>. What it refers to must be in the repository already. */
export const putManifest: Verb<'manifest'> = async (registry, { request, reply, path, query }) => {
  const { name } = path;
  const reference = parseReference(path.reference);
  const extraTags = tagParameters(reference, query);
  const bytes = await readBody(request.raw, MAX_MANIFEST_BYTES);
  if (bytes === undefined) {
    throw new OciError('SIZE_INVALID', `a manifest is at most ${MAX_MANIFEST_BYTES} bytes`, undefined, {
      status: 413,
    });
  }
  const manifest = parseManifest(bytes, request.headers['content-type']);
  const algorithm = reference.kind === 'digest' ? digestAlgorithm(reference.digest) : 'sha256';
  const digest = digestOf(algorithm, bytes);
  if (reference.kind === 'digest' && reference.digest !== digest) {
    throw new OciError('DIGEST_INVALID', undefined, { expected: reference.digest, actual: digest });
  }
  await registry.space.check(bytes.length);
  const requires = requirements(manifest);
  const tags = reference.kind === 'tag' ? [reference.tag] : extraTags;
  const missing = await missingBlobs(registry, name, requires.blobs);
  if (missing.length > 0) throw lacks(missing);
  const unlinked = await registry.metadata.putManifest(name, {
    digest,
    mediaType: manifest.mediaType,
    size: bytes.length,
    bytes,
    requires,
    subject: manifest.subject?.digest,
    artifactType: manifest.artifactType,
    annotations: manifest.annotations,
    pushedAt: Date.now(),
    tags,
  });
  if (unlinked.length > 0) throw lacks(unlinked);
  registry.pushed(name, tags);
  if (extraTags.length > 0) reply.header('oci-tag', extraTags);
  if (manifest.subject) reply.header('oci-subject', manifest.subject.digest);
  return reply
    .status(201)
    .headers({ location: `/v2/${name}/manifests/${digest}`, 'docker-content-digest': digest })
    .send();
};

/**
 * The tags of `PUT manifests/<digest>?tag=a&tag=b`, each once; each is confirmed by an OCI-Tag header.
 * @throws OciError TAG_INVALID, with 414 for more than MAX_TAGS
 */
function tagParameters(reference: Reference, query: URLSearchParams): Tag[] {
  const given = query.getAll('tag');
  if (given.length > MAX_TAGS) {
    throw new OciError('TAG_INVALID', `at most ${MAX_TAGS} tags in one request`, undefined, { status: 414 });
  }
  if (given.length > 0 && reference.kind === 'tag') {
    throw new OciError('TAG_INVALID', 'tag parameters go with a digest: PUT manifests/<digest>?tag=<tag>');
  }
  return [...new Set(given.map(parseTag))];
}

/** DELETE /v2/<name>/manifests/<reference>: a tag alone, or a manifest and the tags that point at it. */
export const deleteManifest: Verb<'manifest'> = async (registry, { reply, path }) => {
  const reference = parseReference(path.reference);
  const digest =
    reference.kind === 'tag'
      ? await registry.metadata.deleteTag(path.name, reference.tag)
      : (await registry.metadata.deleteManifest(path.name, reference.digest)) && reference.digest;
  if (!digest) throw unknown(path.reference);
  return reply.status(202).header('docker-content-digest', digest).send();
};

/** Where a manifest is looked for. */
type Library = Pick<Registry, 'metadata' | 'upstreams'>;

interface Located {
  readonly record: ManifestRecord;
  readonly stale: boolean;
}

/** The first repository that has it: by digest what is here, then upstreams; by tag in the names' order. */
/** The first of the repositories that has what the reference means now. @throws OciError UNAVAILABLE, DENIED */
export async function locate(
  registry: Library,
  names: readonly RepositoryName[],
  reference: Reference,
): Promise<{ readonly name: RepositoryName; readonly found: Located } | undefined> {
  const { upstreams } = registry;
  if (reference.kind === 'tag') {
    return findAnywhere(names, (name) =>
      upstreams.owns(name) ? ask(registry, name, reference) : resolve(registry, name, reference),
    );
  }
  return (
    (await findIn(names, (name) => resolve(registry, name, reference))) ??
    (await findAnywhere(names.filter(upstreams.owns), (name) => ask(registry, name, reference)))
  );
}

async function resolve(
  { metadata }: Library,
  name: RepositoryName,
  reference: Reference,
): Promise<Located | undefined> {
  const digest = reference.kind === 'digest' ? reference.digest : await metadata.tag(name, reference.tag);
  const record = digest && (await metadata.manifest(name, digest));
  return record && { record, stale: false };
}

async function ask(
  { metadata, upstreams }: Library,
  name: RepositoryName,
  reference: Reference,
): Promise<Located | undefined> {
  const found = await upstreams.manifest(name, reference);
  const record = found && (await metadata.manifest(name, found.digest));
  return record && { record, stale: found.stale };
}

/** All that a stored manifest refers to. */
export function requirementsOf(bytes: Uint8Array, mediaType: string): readonly Digest[] {
  const { blobs, manifests } = requirements(parseManifest(Buffer.from(bytes), mediaType));
  return [...blobs, ...manifests];
}

/** An index may also point at content that is not a manifest; that is a blob of the repository. */
export function requirements(manifest: Manifest): { blobs: Digest[]; manifests: Digest[] } {
  const isManifest = (entry: { mediaType: string }): boolean => isManifestMediaType(entry.mediaType);
  const others = manifest.manifests.filter((entry) => !isManifest(entry));
  return {
    blobs: [...new Set([...manifest.blobs, ...others].map((entry) => entry.digest))],
    manifests: [...new Set(manifest.manifests.filter(isManifest).map((entry) => entry.digest))],
  };
}

/**
 * Blobs that the repository does not hold, and those whose bytes were damaged and set aside, so that they
 * are pushed again. A file is looked for only when the repository holds the blob: what others hold is
 * not to be learnt from the answer, nor from how long it takes.
 */
async function missingBlobs(
  { blobs, metadata }: Registry,
  name: RepositoryName,
  digests: readonly Digest[],
): Promise<Digest[]> {
  const isHere = async (digest: Digest): Promise<boolean> =>
    (await metadata.hasBlob(name, digest)) && (await blobs.stat(digest)) !== undefined;
  const missing: Digest[] = [];
  for (let start = 0; start < digests.length; start += LOOKED_FOR_AT_ONCE) {
    const some = digests.slice(start, start + LOOKED_FOR_AT_ONCE);
    const here = await Promise.all(some.map(isHere));
    missing.push(...some.filter((_, index) => !here[index]));
  }
  return missing;
}

function lacks(missing: readonly Digest[]): OciError {
  return new OciError(
    'MANIFEST_BLOB_UNKNOWN',
    `the manifest references content that is not in this repository: ${missing[0]}`,
    { missing },
  );
}

function unknown(reference: string): OciError {
  return new OciError('MANIFEST_UNKNOWN', undefined, { reference });
}
