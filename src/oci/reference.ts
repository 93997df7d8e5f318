import { type Digest, parseDigest } from './digest.ts';
import { OciError } from './errors.ts';

declare const repositoryBrand: unique symbol;
declare const tagBrand: unique symbol;

/** A checked `<name>` of the distribution specification, at most 255 characters. */
export type RepositoryName = string & { readonly [repositoryBrand]: 'RepositoryName' };
/** A checked tag, at most 128 characters. */
export type Tag = string & { readonly [tagBrand]: 'Tag' };

export type Reference =
  | { readonly kind: 'tag'; readonly tag: Tag }
  | { readonly kind: 'digest'; readonly digest: Digest };

/** `docker.io/library/app:v7`, taken apart. `namespace` is the registry host that the name begins with. */
export interface ImageReference {
  readonly namespace: string | undefined;
  readonly repository: RepositoryName;
  readonly reference: Reference;
}

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const NAME = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** @throws OciError NAME_INVALID */
export function parseRepositoryName(text: string): RepositoryName {
  if (text.length <= 255 && NAME.test(text)) return text as RepositoryName;
  throw new OciError('NAME_INVALID', undefined, { name: text.slice(0, 256) });
}

/** @throws OciError TAG_INVALID */
export function parseTag(text: string): Tag {
  if (TAG.test(text)) return text as Tag;
  throw new OciError('TAG_INVALID', undefined, { tag: text.slice(0, 200) });
}

/** A tag or a digest, as in the last part of `/v2/<name>/manifests/<reference>`. */
export function parseReference(text: string): Reference {
  return text.includes(':')
    ? { kind: 'digest', digest: parseDigest(text) }
    : { kind: 'tag', tag: parseTag(text) };
}

/**
 * Parses what a user types: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, the tag `latest` by default.
 * The first component is a host when it has a dot, a port, or is `localhost`.
 */
export function parseImageReference(text: string): ImageReference {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  let rest = at < 0 ? text : text.slice(0, at);
  let namespace: string | undefined;
  const slash = rest.indexOf('/');
  const first = slash < 0 ? '' : rest.slice(0, slash);
  if (isRegistryHost(first)) {
    namespace = first;
    rest = rest.slice(slash + 1);
  }
  const colon = rest.lastIndexOf(':');
  const tag = colon < 0 ? undefined : parseTag(rest.slice(colon + 1));
  const repository = parseRepositoryName(colon < 0 ? rest : rest.slice(0, colon));
  const reference: Reference = digest
    ? { kind: 'digest', digest }
    : { kind: 'tag', tag: tag ?? parseTag('latest') };
  return { namespace, repository, reference };
}

/** The text form: a digest after `@`, a tag after `:`. */
export function formatImageReference(image: ImageReference): string {
  const { namespace, repository, reference } = image;
  const name = namespace === undefined ? repository : `${namespace}/${repository}`;
  return reference.kind === 'tag' ? `${name}:${reference.tag}` : `${name}@${reference.digest}`;
}

/** Whether a path component names a registry host and not a part of a repository's name. */
export function isRegistryHost(component: string): boolean {
  return /^(?:localhost|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9.-]+(?=:\d))(?::\d{1,5})?$/.test(
    component,
  );
}
