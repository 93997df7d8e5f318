/**
 * Which repositories a request may mean. An image of another registry is asked for as
 * `/v2/library/app/…?ns=docker.io` (containerd) or as `/v2/docker.io/library/app/…`
 * (containers/image); both mean the repository `docker.io/library/app`, and where that does not
 * have it, `library/app`. When `docker.io` is an upstream, what it has counts as the former's: for tags it
 * is asked first, so that nobody here can put another image in its place; content that is named by its
 * digest is the same wherever it comes from, and is looked for here first.
 */
import type { FastifyReply } from 'fastify';
import { isRegistryHost, OciError, parseRepositoryName, type RepositoryName } from '#oci';
import type { Admitted } from '../access/index.ts';
import { componentToHost, hostToComponent } from '../upstream/index.ts';

/** The registry host that the request speaks for. @throws OciError NAME_INVALID */
function namespaceOf(query: URLSearchParams): string | undefined {
  const text = query.get('ns');
  if (text === null || text === '') return undefined;
  if (text.length <= 255 && isRegistryHost(text)) return text.toLowerCase();
  throw new OciError('NAME_INVALID', 'ns is not a registry host', { ns: text.slice(0, 256) });
}

/** Repeats the namespace that was asked for, so that a proxy's client can tell (distribution-spec, mirroring). */
export function answerNamespace(reply: FastifyReply, query: URLSearchParams): void {
  const namespace = namespaceOf(query);
  if (namespace !== undefined) reply.header('oci-namespace', namespace);
}

/** The repositories to look in, in order: those that this client may pull from. */
export function candidates({ path, query, admitted }: ReadCall): RepositoryName[] {
  return standsFor(path.name, query).filter((name) => admitted.may('pull', name));
}

type ReadCall = {
  readonly path: { readonly name: RepositoryName };
  readonly query: URLSearchParams;
  readonly admitted: Admitted;
};

/** The repositories that a read of this name may mean, in order. @throws OciError NAME_INVALID */
export function standsFor(name: RepositoryName, query: URLSearchParams): RepositoryName[] {
  const namespace = namespaceOf(query);
  if (namespace !== undefined) {
    const qualified = repositoryName(`${hostToComponent(namespace)}/${name}`);
    return qualified === undefined ? [name] : [qualified, name];
  }
  const slash = name.indexOf('/');
  const bare =
    slash > 0 && componentToHost(name.slice(0, slash)) !== undefined
      ? repositoryName(name.slice(slash + 1))
      : undefined;
  return bare === undefined ? [name] : [name, bare];
}

/**
 * As `findIn`, where some of the repositories are upstreams'. A refusal there is no answer for the next
 * repository, and counts when none has it.
 */
export async function findAnywhere<T>(
  names: readonly RepositoryName[],
  find: (name: RepositoryName) => Promise<T | undefined>,
): Promise<{ readonly name: RepositoryName; readonly found: T } | undefined> {
  let refusal: OciError | undefined;
  for (const name of names) {
    try {
      const found = await find(name);
      if (found !== undefined) return { name, found };
    } catch (error) {
      if (!(error instanceof OciError) || !/^(?:DENIED|BLOB_UNKNOWN)$/.test(error.code)) throw error;
      refusal ??= error;
    }
  }
  if (refusal) throw refusal;
  return undefined;
}

/** The first repository for which `find` finds something, with what it found. */
export async function findIn<T>(
  names: readonly RepositoryName[],
  find: (name: RepositoryName) => Promise<T | undefined>,
): Promise<{ readonly name: RepositoryName; readonly found: T } | undefined> {
  for (const name of names) {
    const found = await find(name);
    if (found !== undefined) return { name, found };
  }
  return undefined;
}

/** A host that no name can begin with, or a name that became too long, is no repository of ours. */
function repositoryName(text: string): RepositoryName | undefined {
  try {
    return parseRepositoryName(text);
  } catch {
    return undefined;
  }
}
