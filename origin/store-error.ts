/** What the blob store could not do, in the terms of the distribution API. */
import { BlobStoreError } from '#blobs';
import { OciError } from '#oci';

/** Anything that is no failure of the store is left as it is. */
export function asOciError(error: unknown): unknown {
  if (!(error instanceof BlobStoreError)) return error;
  switch (error.code) {
    case 'digest-mismatch':
      return new OciError('DIGEST_INVALID', undefined, undefined, { cause: error });
    case 'no-space':
      return new OciError('NO_SPACE', undefined, undefined, { cause: error });
    case 'unavailable':
      // The store's own words name its address, which is the operator's to know.
      return new OciError('UNAVAILABLE', 'the object storage cannot be used now; try again', undefined, {
        headers: { 'retry-after': '5' },
        cause: error,
      });
    default:
      return error;
  }
}
