/** `n` and `last` of the listings, and the Link to the next page (distribution-spec, "Listing Tags"; RFC 8288). */
import type { FastifyReply } from 'fastify';
import { OciError } from '#oci';

/** The most entries of one answer; a client that asks for more, or for all, follows the Link. */
const MAX_PAGE = 10_000;

/** @throws OciError PAGINATION_NUMBER_INVALID, or what `parseLast` throws */
export function pageRequest<T extends string>(
  query: URLSearchParams,
  parseLast: (text: string) => T,
): { limit: number; after: T | undefined } {
  const n = query.get('n');
  const last = query.get('last');
  if (n !== null && !/^\d{1,15}$/.test(n)) {
    throw new OciError('PAGINATION_NUMBER_INVALID', undefined, { n: n.slice(0, 50) });
  }
  return {
    limit: Math.min(n === null ? MAX_PAGE : Number(n), MAX_PAGE),
    after: last === null || last === '' ? undefined : parseLast(last),
  };
}

/** Adds the Link header to the page that follows `last`; the other query parameters are kept. */
export function linkNext(
  reply: FastifyReply,
  path: string,
  query: URLSearchParams,
  next: { readonly limit: number; readonly last: string },
): void {
  const rest = new URLSearchParams(query);
  rest.set('n', String(next.limit));
  rest.set('last', next.last);
  reply.header('link', `<${path}?${rest}>; rel="next"`);
}
