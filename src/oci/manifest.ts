/**
 * Manifests and indexes, docker schema 2 and OCI. Only what a registry and a mirror must know is
 * read: the media type, what is referred to, the subject. Everything else passes through as bytes.
 */
import { z } from 'zod';
import { type Digest, parseDigest } from './digest.ts';
import { OciError } from './errors.ts';

/** The specification asks registries for at least 4 MiB; more is refused. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

const IMAGE_MEDIA_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const INDEX_MEDIA_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
/** In the order of an Accept header: what Shoal asks an upstream for. */
export const MANIFEST_MEDIA_TYPES: readonly string[] = [...IMAGE_MEDIA_TYPES, ...INDEX_MEDIA_TYPES];

export interface ManifestDescriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
}

export interface Manifest {
  readonly mediaType: string;
  /** Blobs of an image: its config first, then the layers. Empty for an index. */
  readonly blobs: readonly ManifestDescriptor[];
  /** Manifests of an index. Empty for an image. */
  readonly manifests: readonly ManifestDescriptor[];
  readonly subject: ManifestDescriptor | undefined;
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

export function isManifestMediaType(mediaType: string): boolean {
  return MANIFEST_MEDIA_TYPES.includes(mediaType);
}

export function isIndexMediaType(mediaType: string): boolean {
  return INDEX_MEDIA_TYPES.includes(mediaType);
}

const descriptor = z.looseObject({
  mediaType: z.string().max(255),
  digest: z.string().max(200),
  size: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  urls: z.array(z.string()).optional(),
  platform: z
    .looseObject({ os: z.string(), architecture: z.string(), variant: z.string().optional() })
    .optional(),
});
const document = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: descriptor.optional(),
  layers: z.array(descriptor).max(10_000).optional(),
  manifests: z.array(descriptor).max(10_000).optional(),
  subject: descriptor.optional(),
  artifactType: z.string().optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

/** Foreign layers are not pushed to a registry, so they are not among what must be there. */
const FOREIGN = /foreign|nondistributable/;

/**
 * Reads a manifest. `mediaType` is the Content-Type it came with; where it is missing or generic
 * the document's own `mediaType` or shape decides, and the two must not disagree.
 * @throws OciError MANIFEST_INVALID with the reason, SIZE_INVALID (413) above MAX_MANIFEST_BYTES
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): Manifest {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw new OciError('SIZE_INVALID', `a manifest is at most ${MAX_MANIFEST_BYTES} bytes`, undefined, {
      status: 413,
    });
  }
  const parsed = document.safeParse(parseJson(bytes));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new OciError(
      'MANIFEST_INVALID',
      `${issue?.path.join('.') || 'document'}: ${issue?.message ?? 'not a manifest'}`,
    );
  }
  const content = parsed.data;
  const given = contentType?.split(';')[0]?.trim().toLowerCase();
  const mediaType = chooseMediaType(given, content);
  const index = isIndexMediaType(mediaType);
  if (index && (content.layers || content.config)) {
    throw new OciError('MANIFEST_INVALID', 'an index must not have layers or a config');
  }
  if (!index && content.manifests) {
    throw new OciError('MANIFEST_INVALID', 'an image manifest must not have manifests');
  }
  if (index ? !content.manifests : !content.config || !content.layers) {
    throw new OciError('MANIFEST_INVALID', index ? 'manifests: missing' : 'config or layers: missing');
  }
  const blobs = [content.config, ...(content.layers ?? [])].filter(
    (entry): entry is z.infer<typeof descriptor> => entry !== undefined && !FOREIGN.test(entry.mediaType),
  );
  return {
    mediaType,
    blobs: blobs.map(toDescriptor),
    manifests: (content.manifests ?? []).map(toDescriptor),
    subject: content.subject && toDescriptor(content.subject),
    // Referrers API: an empty artifactType counts as missing, and then an image's config speaks for it.
    artifactType: content.artifactType || (content.subject ? content.config?.mediaType : undefined),
    annotations: content.annotations,
  };
}

function chooseMediaType(given: string | undefined, content: z.infer<typeof document>): string {
  const own = content.mediaType;
  if (given !== undefined && isManifestMediaType(given)) {
    if (own !== undefined && own !== given) {
      throw new OciError('MANIFEST_INVALID', `mediaType ${own} does not agree with Content-Type ${given}`);
    }
    return given;
  }
  if (given !== undefined && given !== 'application/json' && given !== 'application/octet-stream') {
    throw new OciError('MANIFEST_INVALID', `unsupported manifest media type ${given}`);
  }
  if (own !== undefined) {
    if (!isManifestMediaType(own))
      throw new OciError('MANIFEST_INVALID', `unsupported manifest media type ${own}`);
    return own;
  }
  return content.manifests
    ? 'application/vnd.oci.image.index.v1+json'
    : 'application/vnd.oci.image.manifest.v1+json';
}

function toDescriptor(entry: z.infer<typeof descriptor>): ManifestDescriptor {
  const { platform } = entry;
  return {
    mediaType: entry.mediaType,
    digest: parseDigest(entry.digest),
    size: entry.size,
    ...(platform && {
      platform: {
        os: platform.os,
        architecture: platform.architecture,
        ...(platform.variant !== undefined && { variant: platform.variant }),
      },
    }),
  };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new OciError('MANIFEST_INVALID', `not JSON: ${(error as Error).message}`);
  }
}
