import { parseRepositoryName } from '#oci';
import type { Verb } from './call.ts';
import { linkNext, pageRequest } from './pagination.ts';

/** GET /v2/_catalog: the repositories by name, as every registry has it beside the specification. */
export const catalog: Verb<'catalog'> = async (registry, call) => {
  const { reply, query, admitted } = call;
  const page = pageRequest(query, parseRepositoryName);
  if (page.limit === 0) return reply.send({ repositories: [] });
  const { items: found, more } = await registry.metadata.repositories(page);
  // What one may not pull is left out; such a page is shorter, and its Link goes on all the same.
  const items = found.filter((name) => admitted.may('pull', name));
  const last = found.at(-1);
  if (more && last !== undefined) linkNext(reply, '/v2/_catalog', query, { limit: page.limit, last });
  return reply.send({ repositories: items });
};
