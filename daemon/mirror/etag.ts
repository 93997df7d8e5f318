import type { Digest } from '#oci';

/** Whether If-None-Match names this content; its entity tag is the digest in quotes (RFC 9110, section 13.1.2). */
export function matchesEtag(header: string | undefined, digest: Digest): boolean {
  if (header === undefined) return false;
  return header
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''))
    .some((tag) => tag === '*' || tag === `"${digest}"`);
}
