/**
 * The paths of the distribution API. A repository's name may hold slashes, so a path is read from
 * its end, as the specification's own pattern does.
 */
import { OciError } from './errors.ts';
import { parseRepositoryName, type RepositoryName } from './reference.ts';

/** `reference`, `digest`, `session`: still text; the handler parses them, so that it chooses the error. */
export type DistributionPath =
  | { readonly kind: 'base' }
  | { readonly kind: 'catalog' }
  | { readonly kind: 'extensions' }
  | { readonly kind: 'tags'; readonly name: RepositoryName }
  | { readonly kind: 'manifest'; readonly name: RepositoryName; readonly reference: string }
  | { readonly kind: 'blob'; readonly name: RepositoryName; readonly digest: string }
  | { readonly kind: 'uploads'; readonly name: RepositoryName }
  | { readonly kind: 'upload'; readonly name: RepositoryName; readonly session: string }
  | { readonly kind: 'referrers'; readonly name: RepositoryName; readonly digest: string }
  | { readonly kind: 'torrent'; readonly name: RepositoryName; readonly digest: string }
  | { readonly kind: 'leaves'; readonly name: RepositoryName; readonly digest: string }
  | { readonly kind: 'discover'; readonly name: RepositoryName };

const patterns: readonly (readonly [RegExp, (name: RepositoryName, last: string) => DistributionPath])[] = [
  [/^(.+)\/tags\/list$/, (name) => ({ kind: 'tags', name })],
  [/^(.+)\/_oci\/ext\/discover$/, (name) => ({ kind: 'discover', name })],
  [/^(.+)\/_shoal\/torrents\/([^/]+)$/, (name, digest) => ({ kind: 'torrent', name, digest })],
  [/^(.+)\/_shoal\/leaves\/([^/]+)$/, (name, digest) => ({ kind: 'leaves', name, digest })],
  [/^(.+)\/blobs\/uploads\/?$/, (name) => ({ kind: 'uploads', name })],
  [/^(.+)\/blobs\/uploads\/([^/]+)$/, (name, session) => ({ kind: 'upload', name, session })],
  [/^(.+)\/blobs\/([^/]+)$/, (name, digest) => ({ kind: 'blob', name, digest })],
  [/^(.+)\/manifests\/([^/]+)$/, (name, reference) => ({ kind: 'manifest', name, reference })],
  [/^(.+)\/referrers\/([^/]+)$/, (name, digest) => ({ kind: 'referrers', name, digest })],
];

/**
 * Reads a path below `/v2` (with or without its query, percent-encoded).
 * @throws OciError NAME_INVALID for a bad name, UNSUPPORTED (404) for a path that the API does not have.
 */
export function parseDistributionPath(url: string): DistributionPath {
  const question = url.indexOf('?');
  const path = decode(question < 0 ? url : url.slice(0, question));
  if (path === '/v2' || path === '/v2/') return { kind: 'base' };
  if (path === '/v2/_catalog') return { kind: 'catalog' };
  if (path === '/v2/_oci/ext/discover') return { kind: 'extensions' };
  if (path.startsWith('/v2/')) {
    const rest = path.slice('/v2/'.length);
    for (const [pattern, make] of patterns) {
      const match = pattern.exec(rest);
      if (match) return make(parseRepositoryName(match[1] ?? ''), match[2] ?? '');
    }
  }
  throw new OciError('UNSUPPORTED', 'no such path in the distribution API', undefined, { status: 404 });
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new OciError('NAME_INVALID', 'the path is not valid percent-encoding');
  }
}
