/**
 * Manifests of an upstream. A tag is confirmed by HEAD at each ask, once however many ask at the same
 * time; what it means is fetched when the repository does not have it. A digest, once here, is never
 * asked for again. What comes is checked and kept like what is pushed, except that what it refers to
 * may come later.
 */
import {
  type Digest,
  digestAlgorithm,
  digestOf,
  MANIFEST_MEDIA_TYPES,
  MAX_MANIFEST_BYTES,
  type Manifest,
  OciError,
  parseDigest,
  parseManifest,
  type Reference,
  type RepositoryName,
  type Tag,
} from '#oci';
import type { Logger } from '#telemetry';
import type { MetadataStore, NewManifest } from '../metadata/port.ts';
import type { Absent } from './absent.ts';
import type { UpstreamClient } from './client.ts';

/** A repository of an upstream: as it is called here, and there. */
export interface Place {
  readonly client: UpstreamClient;
  readonly name: RepositoryName;
  readonly repository: string;
}

export interface FoundManifest {
  readonly digest: Digest;
  /** The upstream could not be asked; this is what the tag was when it last could. */
  readonly stale: boolean;
}

export interface UpstreamManifests {
  /**
   * What the reference means; it is in the metadata then. Undefined: the upstream does not have it.
   * @throws OciError UNAVAILABLE, DENIED
   */
  find(place: Place, reference: Reference): Promise<FoundManifest | undefined>;
}

const ACCEPT = MANIFEST_MEDIA_TYPES.join(', ');

export function createUpstreamManifests(options: {
  readonly metadata: MetadataStore;
  readonly absent: Absent;
  /** What a manifest refers to. */
  readonly requirementsOf: (manifest: Manifest) => NewManifest['requires'];
  readonly onStale: (upstream: string) => void;
  readonly closing: AbortSignal;
  readonly log: Logger;
}): UpstreamManifests {
  const { metadata, absent, log } = options;
  const running = new Map<string, Promise<FoundManifest | undefined>>();

  const bounded = ({ client }: Place): AbortSignal =>
    AbortSignal.any([options.closing, AbortSignal.timeout(client.config.timeoutMs)]);

  /** Fetches, checks and keeps it under `tags`. Undefined: the upstream does not have it. */
  async function fetchManifest(
    place: Place,
    reference: string,
    tags: readonly Tag[],
    signal: AbortSignal,
  ): Promise<Digest | undefined> {
    const { client, name, repository } = place;
    const response = await client.request({
      repository,
      path: `manifests/${reference}`,
      headers: { accept: ACCEPT },
      signal,
    });
    if (response.status !== 200) {
      await client.discard(response);
      return undefined;
    }
    const bytes = await client.read(response, MAX_MANIFEST_BYTES).catch((error: unknown) => {
      throw unusable(place, reference, error);
    });
    const named = reference.includes(':') ? parseDigest(reference) : undefined;
    const digest = digestOf(named === undefined ? 'sha256' : digestAlgorithm(named), bytes);
    if (named !== undefined && named !== digest) throw unusable(place, reference, `its digest is ${digest}`);
    const [tag] = tags;
    if (await metadata.manifest(name, digest)) {
      if (tag !== undefined) await metadata.confirmTag(name, tag, digest);
      return digest;
    }
    try {
      const mediaType = response.headers['content-type'];
      const manifest = parseManifest(bytes, mediaType);
      await metadata.putManifest(name, {
        digest,
        mediaType: manifest.mediaType,
        size: bytes.length,
        bytes,
        partial: true,
        requires: options.requirementsOf(manifest),
        subject: manifest.subject?.digest,
        artifactType: manifest.artifactType,
        annotations: manifest.annotations,
        pushedAt: Date.now(),
        tags,
      });
    } catch (error) {
      throw error instanceof OciError ? unusable(place, reference, error) : error;
    }
    log.info({ repository: name, reference, digest }, 'manifest fetched from its upstream');
    return digest;
  }

  async function confirm(place: Place, tag: Tag, wasHere: boolean): Promise<Digest | undefined> {
    const { client, name, repository } = place;
    const signal = bounded(place);
    const response = await client.request({
      method: 'HEAD',
      repository,
      path: `manifests/${tag}`,
      headers: { accept: ACCEPT },
      signal,
    });
    await client.discard(response);
    if (response.status === 404) {
      // It is gone there, and must not come back here when the upstream cannot be asked.
      if (wasHere) await metadata.deleteTag(name, tag);
      return undefined;
    }
    // Some registries know no HEAD here, and some name no digest.
    const named = response.status === 200 ? digestIn(response.headers['docker-content-digest']) : undefined;
    if (named === undefined) return fetchManifest(place, tag, [tag], signal);
    if (await metadata.confirmTag(name, tag, named)) return named;
    return fetchManifest(place, named, [tag], signal);
  }

  async function byTag(place: Place, tag: Tag): Promise<FoundManifest | undefined> {
    const { name, client } = place;
    const known = await metadata.tagAge(name, tag);
    const record = known && (await metadata.manifest(name, known.digest));
    // Pushed here before there was an upstream of that name: it is ours, until somebody deletes it.
    if (record && record.partial !== true) return { digest: record.digest, stale: false };
    try {
      const digest = await confirm(place, tag, record !== undefined);
      return digest && { digest, stale: false };
    } catch (error) {
      const passes = error instanceof OciError && error.code === 'UNAVAILABLE';
      if (!passes || !record || known.ageMs > client.config.staleMs) throw error;
      options.onStale(client.config.name);
      log.warn(
        { repository: name, tag, digest: known.digest, err: error },
        'tag served without its upstream',
      );
      return { digest: known.digest, stale: true };
    }
  }

  async function byDigest(place: Place, digest: Digest): Promise<FoundManifest | undefined> {
    if (await metadata.manifest(place.name, digest)) return { digest, stale: false };
    const found = await fetchManifest(place, digest, [], bounded(place));
    return found && { digest: found, stale: false };
  }

  /** Keeps for a while what it does not have. */
  async function asked(
    key: string,
    ask: () => Promise<FoundManifest | undefined>,
  ): Promise<FoundManifest | undefined> {
    const before = absent.get(key);
    if (before === 'unknown') return undefined;
    if (before !== undefined) throw before;
    try {
      const found = await ask();
      if (found === undefined) absent.keep(key, 'unknown');
      return found;
    } catch (error) {
      if (error instanceof OciError && error.code === 'DENIED') absent.keep(key, error);
      throw error;
    }
  }

  return {
    find(place, reference) {
      const key =
        reference.kind === 'tag' ? `${place.name}:${reference.tag}` : `${place.name}@${reference.digest}`;
      const before = running.get(key);
      if (before !== undefined) return before;
      const task = asked(key, () =>
        reference.kind === 'tag' ? byTag(place, reference.tag) : byDigest(place, reference.digest),
      ).finally(() => running.delete(key));
      running.set(key, task);
      return task;
    },
  };
}

function digestIn(header: string | undefined): Digest | undefined {
  try {
    return header === undefined ? undefined : parseDigest(header);
  } catch {
    return undefined;
  }
}

/** The upstream's fault, and perhaps gone the next time. */
function unusable({ client, name }: Place, reference: string, reason: unknown): OciError {
  const text = reason instanceof Error ? reason.message : String(reason);
  return new OciError(
    'UNAVAILABLE',
    `the manifest ${reference} of ${name}, as ${client.config.name} sent it, cannot be used: ${text}`,
    undefined,
    { headers: { 'retry-after': '10' }, cause: reason },
  );
}
