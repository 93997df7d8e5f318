import { MAX_MANIFEST_BYTES, parseDigest } from '#oci';
import type { Verb } from './call.ts';
import { candidates, findIn } from './lookup.ts';
import { linkNext, pageRequest } from './pagination.ts';
import { upstreamList } from './upstream-lists.ts';

const INDEX = 'application/vnd.oci.image.index.v1+json';
/** Annotations make an entry large, so a page has fewer of them than other listings. */
const MAX_REFERRERS = 500;
/** A page is an index, and no larger than one may be that is pushed; some annotations fill one alone. */
const MAX_PAGE_BYTES = MAX_MANIFEST_BYTES;

/**
 * GET /v2/<name>/referrers/<digest>: what points at this manifest (distribution-spec, "Listing
 * Referrers"). Never a 404: nothing known is an empty index.
 */
export const referrers: Verb<'referrers'> = async (registry, call) => {
  const { reply, path, query } = call;
  const subject = parseDigest(path.digest);
  const asked = pageRequest(query, parseDigest);
  const page = {
    ...{ limit: Math.min(asked.limit, MAX_REFERRERS), after: asked.after },
    maxBytes: MAX_PAGE_BYTES,
  };
  const artifactType = query.get('artifactType') || undefined;
  const there = await upstreamList(registry, call, `referrers/${subject}`);
  if (there) return reply.header('content-type', INDEX).send(there);
  const place = await findIn(candidates(call), async (name) => {
    const found = await registry.metadata.referrers(name, subject, { ...page, artifactType });
    return found.items.length > 0 ? found : undefined;
  });
  const { items, more } = place?.found ?? { items: [], more: false };
  const last = items.at(-1)?.digest;
  if (more && last !== undefined) {
    linkNext(reply, `/v2/${path.name}/referrers/${subject}`, query, { limit: page.limit, last });
  }
  if (artifactType !== undefined) reply.header('oci-filters-applied', 'artifactType');
  const index = {
    schemaVersion: 2,
    mediaType: INDEX,
    manifests: items.map(({ mediaType, digest, size, artifactType: type, annotations }) => ({
      mediaType,
      digest,
      size,
      ...(type !== undefined && { artifactType: type }),
      ...(annotations && { annotations }),
    })),
  };
  return reply.header('content-type', INDEX).send(Buffer.from(JSON.stringify(index)));
};
