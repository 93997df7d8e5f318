/**
 * Which repository a client means. containerd names the registry in `?ns=`, containers/image puts it
 * before the name; both forms become the same value, so that they share cache, downloads and swarm.
 */
import { isRegistryHost, OciError, parseRepositoryName, type RepositoryName } from '#oci';

export interface Repository {
  /** The registry host that the image's name begins with; undefined when the client named none. */
  readonly namespace: string | undefined;
  readonly name: RepositoryName;
}

/** Host, optional port, brackets of an IPv6 host. */
const NAMESPACE = /^[a-zA-Z0-9._:[\]-]{1,255}$/;

/**
 * @param name the `<name>` of the path
 * @param ns the query parameter, when there was one
 * @throws OciError NAME_INVALID
 */
export function toRepository(name: RepositoryName, ns: string | undefined): Repository {
  if (ns !== undefined && ns !== '') {
    if (!NAMESPACE.test(ns)) {
      throw new OciError('NAME_INVALID', 'ns is not the host of a registry', { ns: ns.slice(0, 256) });
    }
    const prefix = `${ns}/`;
    return {
      namespace: ns,
      name: name.startsWith(prefix) ? parseRepositoryName(name.slice(prefix.length)) : name,
    };
  }
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  if (!isRegistryHost(first)) return { namespace: undefined, name };
  return { namespace: first, name: parseRepositoryName(name.slice(slash + 1)) };
}

/** One text a repository, for keys and log lines. */
export function formatRepository(repository: Repository): string {
  return repository.namespace === undefined ? repository.name : `${repository.namespace}/${repository.name}`;
}
