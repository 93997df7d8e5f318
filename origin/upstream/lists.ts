/** Lists of an upstream: small JSON that is passed on as it is, a page at a time. */
import { OciError } from '#oci';
import type { Place } from './manifests.ts';

const MAX_LIST_BYTES = 8 * 1024 * 1024;

export interface UpstreamList {
  readonly bytes: Buffer;
  /** The query of the next page. */
  readonly next: string | undefined;
}

/** Undefined: it is unknown there. @throws OciError UNAVAILABLE, DENIED */
export async function fetchList(
  { client, repository }: Place,
  path: string,
  query: string,
  closing: AbortSignal,
): Promise<UpstreamList | undefined> {
  const signal = AbortSignal.any([closing, AbortSignal.timeout(client.config.timeoutMs)]);
  const response = await client.request({
    repository,
    path: query === '' ? path : `${path}?${query}`,
    headers: { accept: 'application/vnd.oci.image.index.v1+json, application/json' },
    signal,
  });
  if (response.status !== 200) {
    await client.discard(response);
    return undefined;
  }
  const bytes = await client.read(response, MAX_LIST_BYTES).catch((error: Error) => {
    throw new OciError('UNAVAILABLE', `the list of ${client.config.name} broke: ${error.message}`);
  });
  const link = /<[^<>?]*\?([^<>]{1,2000})>\s*;\s*rel="?next"?/i.exec(response.headers['link'] ?? '');
  return { bytes, next: link?.[1] };
}
