/**
 * Lists of an upstream's repository: tags and referrers as they are there now, not only what was pulled. They
 * are passed on; the link to the next page leads back here.
 */
import { OciError, type RepositoryName } from '#oci';
import type { Call, Registry } from './call.ts';
import { candidates, findAnywhere } from './lookup.ts';

/** `path`: below the repository. Undefined: no upstream has it, or it cannot be asked; what is here counts then. */
export async function upstreamList(
  registry: Registry,
  call: Call<'tags'> | Call<'referrers'>,
  path: string,
): Promise<Buffer | undefined> {
  const { reply, query } = call;
  const names = candidates(call).filter(registry.upstreams.owns);
  if (names.length === 0) return undefined;
  const asked = new URLSearchParams(query);
  asked.delete('ns');
  const place = await findAnywhere(names, (name: RepositoryName) =>
    registry.upstreams.list(name, path, asked.toString()),
  ).catch((error: unknown) => {
    if (error instanceof OciError && /^(?:UNAVAILABLE|DENIED)$/.test(error.code)) return undefined;
    throw error;
  });
  if (place === undefined) return undefined;
  const { bytes, next } = place.found;
  if (next !== undefined) {
    const rest = new URLSearchParams(next);
    const ns = query.get('ns');
    if (ns !== null) rest.set('ns', ns);
    reply.header('link', `</v2/${call.path.name}/${path}?${rest}>; rel="next"`);
  }
  return bytes;
}
