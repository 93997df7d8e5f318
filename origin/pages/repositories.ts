/**
 * Repositories, tags and images for people, at Quay's paths and with its names of fields; pages go on by name here,
 * with `next_page`, where Quay counts them.
 *
 *     GET /api/v1/repository?limit=&next_page=             repositories
 *     GET /api/v1/repository/<name>/tag/?limit=&next_page=  tags
 *     GET /api/v1/repository/<name>/manifest/<tag or digest>   an image with its layers, or an index
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { ProblemError } from '#http';
import {
  isIndexMediaType,
  type Manifest,
  type ManifestDescriptor,
  parseManifest,
  parseReference,
  parseRepositoryName,
  parseTag,
  type RepositoryName,
} from '#oci';
import type { InfoHash } from '#torrent';
import type { Tracker } from '#tracker';
import type { ManifestRecord, MetadataStore } from '../metadata/port.ts';

const MOST = 100;
const MOST_LAYERS = 500;
const pageQuery = z.object({
  limit: z
    .string()
    .regex(/^[1-9]\d{0,6}$/, 'must be a positive number')
    .transform((text) => Math.min(Number(text), MOST))
    .default(50),
  next_page: z.string().max(512).default(''),
});

export interface RepositoryParts {
  readonly metadata: MetadataStore;
  readonly tracker: Tracker;
  /** The blob that a digest or an infohash names. */
  readonly identify: (
    text: string,
  ) => Promise<{ readonly infoHash: InfoHash; readonly digest: string; readonly size: number } | undefined>;
}

export function registerRepositories(app: FastifyInstance, parts: RepositoryParts): void {
  const { metadata } = parts;
  app.get('/api/v1/repository', async ({ query }) => {
    const { limit, next_page: after } = parse(query);
    const { items, more } = await metadata.repositories({
      limit,
      after: after === '' ? undefined : parseRepositoryName(after),
    });
    return {
      repositories: items.map((name) => ({ namespace: namespaceOf(name), name })),
      next_page: more ? (items.at(-1) ?? null) : null,
    };
  });
  app.get<{ Params: { '*': string } }>('/api/v1/repository/*', async ({ params, query }) => {
    const path = params['*'];
    const [, tagged] = /^(.+)\/tag\/?$/.exec(path) ?? [];
    if (tagged !== undefined) return tagsOf(parts, parseRepositoryName(tagged), query);
    const [, name, reference] = /^(.+)\/manifest\/([^/]+)$/.exec(path) ?? [];
    if (name !== undefined && reference !== undefined) {
      return imageOf(parts, parseRepositoryName(name), reference);
    }
    throw new ProblemError(
      404,
      'Not Found',
      'below a repository there are /tag/ and /manifest/<tag or digest>',
    );
  });
}

async function tagsOf({ metadata }: RepositoryParts, name: RepositoryName, query: unknown) {
  const { limit, next_page: after } = parse(query);
  if (!(await metadata.hasRepository(name))) throw unknown(`repository ${name}`);
  const page = { limit, after: after === '' ? undefined : parseTag(after) };
  const { items, more } = await metadata.tags(name, page);
  const tags = await Promise.all(
    items.map(async (tag) => {
      const known = await metadata.tagAge(name, tag);
      const record = known && (await metadata.manifest(name, known.digest));
      if (known === undefined || record === undefined) return [];
      const manifest = await readManifest(metadata, name, record);
      return {
        name: tag,
        manifest_digest: known.digest,
        is_manifest_list: isIndexMediaType(record.mediaType),
        size: sizeOf(manifest),
        last_modified: new Date(Date.now() - known.ageMs).toISOString(),
      };
    }),
  );
  return { tags: tags.flat(), has_additional: more, next_page: more ? (items.at(-1) ?? null) : null };
}

async function imageOf(parts: RepositoryParts, name: RepositoryName, text: string) {
  const { metadata } = parts;
  const reference = parseReference(text);
  const digest = reference.kind === 'digest' ? reference.digest : await metadata.tag(name, reference.tag);
  const record = digest && (await metadata.manifest(name, digest));
  if (record === undefined) throw unknown(`image ${name}: ${text.slice(0, 140)}`);
  const manifest = await readManifest(metadata, name, record);
  return {
    digest: record.digest,
    media_type: record.mediaType,
    is_manifest_list: isIndexMediaType(record.mediaType),
    size: sizeOf(manifest),
    pushed_at: new Date(record.pushedAt).toISOString(),
    annotations: record.annotations ?? {},
    layers: await Promise.all(
      (manifest?.blobs ?? []).slice(0, MOST_LAYERS).map((blob, index) => layerOf(parts, blob, index)),
    ),
    manifests: (manifest?.manifests ?? []).slice(0, MOST_LAYERS).map((each) => ({
      digest: each.digest,
      media_type: each.mediaType,
      platform: each.platform === undefined ? null : formatPlatform(each.platform),
    })),
  };
}

/** A blob of an image, the config first, with who has it. */
async function layerOf({ tracker, identify }: RepositoryParts, blob: ManifestDescriptor, index: number) {
  const known = await identify(blob.digest);
  const swarm = known && tracker.swarms.summary(known.infoHash);
  return {
    index,
    is_config: index === 0,
    blob_digest: blob.digest,
    media_type: blob.mediaType,
    compressed_size: blob.size,
    swarm: swarm === undefined ? null : { copies: swarm.copies, downloading: swarm.downloading },
  };
}

/** Undefined: its bytes are going. */
async function readManifest(
  metadata: MetadataStore,
  name: RepositoryName,
  { digest, mediaType }: ManifestRecord,
): Promise<Manifest | undefined> {
  const bytes = await metadata.manifestBytes(name, digest);
  return bytes && parseManifest(bytes, mediaType);
}

/** Bytes of an image's layers and config; null for an index, whose images have their own. */
function sizeOf(manifest: Manifest | undefined): number | null {
  if (manifest === undefined || manifest.blobs.length === 0) return null;
  return manifest.blobs.reduce((sum, { size }) => sum + size, 0);
}

function formatPlatform({ os, architecture, variant }: NonNullable<ManifestDescriptor['platform']>): string {
  return [os, architecture, variant].filter((part) => part !== undefined).join('/');
}

function namespaceOf(name: string): string {
  const slash = name.lastIndexOf('/');
  return slash === -1 ? '' : name.slice(0, slash);
}

function parse(query: unknown): z.output<typeof pageQuery> {
  const result = pageQuery.safeParse(query);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ProblemError(400, 'Bad Request', `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

function unknown(what: string): ProblemError {
  return new ProblemError(404, 'Not Found', `there is no ${what}`);
}
