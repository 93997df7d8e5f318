import { z } from 'zod';
import { OciError, parseTag } from '#oci';
import type { Verb } from './call.ts';
import { candidates, findIn } from './lookup.ts';
import { linkNext, pageRequest } from './pagination.ts';
import { upstreamList } from './upstream-lists.ts';

/** A repository without tags has null there. */
const tagList = z.object({ tags: z.array(z.string()).nullable() });

/** GET /v2/<name>/tags/list (distribution-spec, "Listing Tags"). */
export const listTags: Verb<'tags'> = async (registry, call) => {
  const { reply, path, query } = call;
  const { metadata } = registry;
  const page = pageRequest(query, parseTag);
  const there = await upstreamList(registry, call, 'tags/list');
  const listed = there && readTags(there);
  if (listed) return reply.send({ name: path.name, tags: listed });
  const place = await findIn(candidates(call), async (name) =>
    (await metadata.hasRepository(name)) ? name : undefined,
  );
  if (place === undefined) throw new OciError('NAME_UNKNOWN', undefined, { name: path.name });
  if (page.limit === 0) return reply.send({ name: path.name, tags: [] });
  const { items, more } = await metadata.tags(place.name, page);
  const last = items.at(-1);
  if (more && last !== undefined) {
    linkNext(reply, `/v2/${path.name}/tags/list`, query, { limit: page.limit, last });
  }
  return reply.send({ name: path.name, tags: items });
};

/** Undefined: an upstream that answers with something else. */
function readTags(bytes: Buffer): string[] | undefined {
  try {
    return tagList.parse(JSON.parse(bytes.toString())).tags ?? [];
  } catch {
    return undefined;
  }
}
