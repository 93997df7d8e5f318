/**
 * From a reference to a manifest. A tag is asked of the origin each time; a digest, once its bytes
 * are here, never. While no origin answers, a tag that was confirmed not long ago is served as it
 * was, and marked as stale. An origin's 404 is believed.
 *
 * Where clients are told apart (`as`), each question is asked with the client's own Authorization, and
 * is thereby the check of its rights too; a manifest that is here needs a verdict of its own.
 */
import { type Digest, type Manifest, OciError, parseManifest, type Reference, type Tag } from '#oci';
import type { Logger } from '#telemetry';
import type { CachedManifest, ManifestCache } from './manifest-cache.ts';
import type { OriginClient } from './origin-client.ts';
import type { Ask } from './origins.ts';
import { formatRepository, type Repository } from './repository.ts';
import type { Rights } from './rights.ts';

export interface Resolved extends CachedManifest {
  /** No origin answered; this is what the tag was when one last did. */
  readonly stale: boolean;
}

export interface Resolver {
  /** @throws OciError MANIFEST_UNKNOWN, UNAVAILABLE, or the origin's refusal */
  resolve(
    repository: Repository,
    reference: Reference,
    ask: Ask & { readonly accept: string },
  ): Promise<Resolved>;
}

export function createResolver(options: {
  readonly origin: OriginClient;
  readonly cache: ManifestCache;
  /** How long a tag is served without an origin, in milliseconds. */
  readonly staleTagsMs: number;
  /** Told of each image manifest that came from an origin: its blobs are about to be asked for. */
  readonly onImage: (repository: Repository, manifest: Manifest) => void;
  /** Told of each manifest that somebody asked for and gets. */
  readonly onAsked: (repository: Repository, manifest: CachedManifest) => void;
  /** Told of each manifest that has come. */
  readonly onManifest?: ((digest: Digest) => void) | undefined;
  readonly rights: Pick<Rights, 'mayPull' | 'granted' | 'cover' | 'mayStill'>;
  /** Asks other members for a manifest; undefined: they are not asked. */
  readonly members?: { manifest(digest: Digest): Promise<CachedManifest | undefined> } | undefined;
  readonly log: Logger;
}): Resolver {
  const { origin, cache, rights, log } = options;
  /** Requests on their way to the origin: who asks the same meanwhile gets the same answer. */
  const running = new Map<string, Promise<Resolved>>();

  function once(key: string, resolve: () => Promise<Resolved>): Promise<Resolved> {
    const known = running.get(key);
    if (known !== undefined) return known;
    const started = resolve().finally(() => running.delete(key));
    running.set(key, started);
    return started;
  }

  async function keep(repository: Repository, manifest: CachedManifest, ask: Ask): Promise<void> {
    if (ask.as) rights.granted(ask.as, repository, manifest.digest);
    await put(repository, manifest);
  }

  async function put(repository: Repository, manifest: CachedManifest): Promise<void> {
    await cache.put(manifest);
    options.onManifest?.(manifest.digest);
    try {
      options.onImage(repository, parseManifest(manifest.bytes, manifest.mediaType));
    } catch (error) {
      // Media types that Shoal does not know pass through; only the foresight is lost.
      log.debug({ digest: manifest.digest, err: error }, 'manifest not understood');
    }
  }

  async function byDigest(
    repository: Repository,
    digest: Digest,
    ask: Ask & { readonly accept: string },
  ): Promise<Resolved> {
    try {
      const fetched = await origin.manifest(repository, digest, ask);
      if (fetched === 'unchanged')
        throw new OciError('UNAVAILABLE', 'the origin answered 304 to a first request');
      await keep(repository, fetched, ask);
      return { ...fetched, stale: false };
    } catch (error) {
      const found = await fromMembers(repository, digest, ask, error);
      if (!found) throw error;
      return { ...found, stale: false };
    }
  }

  /** While no origin answers: what other members have, for a client whose right to it is remembered or needs no check. */
  async function fromMembers(
    repository: Repository,
    digest: Digest,
    ask: Ask,
    failure: unknown,
  ): Promise<CachedManifest | undefined> {
    if (!(failure instanceof OciError) || failure.code !== 'UNAVAILABLE') return undefined;
    if (ask.as && !rights.mayStill(ask.as, repository, digest)) return undefined;
    const found = await options.members?.manifest(digest);
    if (!found) return undefined;
    log.info({ reqId: ask.requestId, digest }, 'no origin; the manifest came from another member');
    await put(repository, found);
    return found;
  }

  async function byTag(
    repository: Repository,
    tag: Tag,
    ask: Ask & { readonly accept: string },
  ): Promise<Resolved> {
    const key = `${formatRepository(repository)}:${tag}`;
    const known = await cache.tag(key);
    const held = known && (await cache.get(known.digest));
    try {
      const fetched = await origin.manifest(repository, tag, { ...ask, known: held?.digest });
      if (fetched === 'unchanged') {
        if (!held) throw new OciError('UNAVAILABLE', 'the origin answered 304 to a first request');
        if (ask.as) rights.granted(ask.as, repository, held.digest);
        await cache.putTag(key, held.digest);
        return { ...held, stale: false };
      }
      await keep(repository, fetched, ask);
      await cache.putTag(key, fetched.digest);
      return { ...fetched, stale: false };
    } catch (error) {
      if (!(error instanceof OciError)) throw error;
      if (error.code === 'MANIFEST_UNKNOWN') await cache.forgetTag(key);
      // A clock that jumped either way makes an age that is not believed.
      const fresh = known && Math.abs(Date.now() - known.confirmedAt) <= options.staleTagsMs;
      if (error.code !== 'UNAVAILABLE' || !fresh) throw error;
      const last = held ?? (await fromMembers(repository, known.digest, ask, error));
      if (!last || (ask.as && !rights.mayStill(ask.as, repository, last.digest))) throw error;
      log.warn({ reqId: ask.requestId, tag: key, digest: last.digest }, 'tag served without an origin');
      return { ...last, stale: true };
    }
  }

  /** Who has the same rights gets the same answer. */
  const keyFor = (text: string, ask: Ask): string => (ask.as ? `${text} ${ask.as.key}` : text);

  async function find(
    repository: Repository,
    reference: Reference,
    ask: Ask & { readonly accept: string },
  ): Promise<Resolved> {
    if (reference.kind === 'tag') {
      const key = `${formatRepository(repository)}:${reference.tag} ${ask.accept}`;
      return once(keyFor(key, ask), () => byTag(repository, reference.tag, ask));
    }
    const held = await cache.get(reference.digest);
    if (held) {
      if (ask.as) await rights.mayPull(ask.as, repository, 'manifests', held.digest, ask);
      return { ...held, stale: false };
    }
    const key = `${formatRepository(repository)}@${reference.digest}`;
    return once(keyFor(key, ask), () => byDigest(repository, reference.digest, ask));
  }

  return {
    async resolve(repository, reference, ask) {
      const resolved = await find(repository, reference, ask);
      options.onAsked(repository, resolved);
      if (ask.as) rights.cover(ask.as, repository, resolved);
      return resolved;
    },
  };
}
