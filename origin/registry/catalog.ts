import { parseRepositoryName, type RepositoryName } from '#oci';
import type { Call, Registry, Verb } from './call.ts';
import { linkNext, pageRequest } from './pagination.ts';

/** Names that are read at once after the first page of them. */
const STEP = 1_000;

/**
 * GET /v2/_catalog: the repositories by name, as every registry has it beside the specification. What
 * one may not pull is left out, also of the Link: neither its name nor that there is more is told.
 */
export const catalog: Verb<'catalog'> = async (registry, call) => {
  const { reply, query } = call;
  const { limit, after } = pageRequest(query, parseRepositoryName);
  if (limit === 0) return reply.send({ repositories: [] });
  const found = await visible(registry, call, limit + 1, after);
  const repositories = found.slice(0, limit);
  const last = repositories.at(-1);
  if (found.length > limit && last !== undefined) linkNext(reply, '/v2/_catalog', query, { limit, last });
  return reply.send({ repositories });
};

/** The first `wanted` names that this client may pull; the others are passed over for as long as it listens. */
async function visible(
  { metadata }: Registry,
  { admitted, request }: Call<'catalog'>,
  wanted: number,
  after: RepositoryName | undefined,
): Promise<RepositoryName[]> {
  const found: RepositoryName[] = [];
  let page = await metadata.repositories({ limit: wanted, after });
  for (;;) {
    found.push(...page.items.filter((name) => admitted.may('pull', name)));
    const last = page.items.at(-1);
    if (!page.more || last === undefined || found.length >= wanted || request.raw.socket.destroyed) break;
    page = await metadata.repositories({ limit: STEP, after: last });
  }
  return found.slice(0, wanted);
}
