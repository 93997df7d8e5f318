/** What went wrong at S3, in the store's terms: which request, what the server called it, what to do. */
import { BlobStoreError } from '../errors.ts';

/** The part of an SDK error that is read. Everything else in it stays unread: it may hold signatures. */
interface ServiceError {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly code?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string };
}

const REFUSED =
  'the credentials may not do this, or are wrong; needed are s3:GetObject, s3:PutObject, s3:DeleteObject, ' +
  's3:AbortMultipartUpload, s3:ListBucket and s3:ListBucketMultipartUploads (docs/decisions/0037-blobs-in-s3.md)';

/** By the error's name, as S3 and its relatives have it. */
const remedies: Readonly<Record<string, string>> = {
  NoSuchBucket: 'the bucket does not exist: create it, or correct storage.s3.bucket',
  PermanentRedirect: 'the bucket is in another region: correct storage.s3.region',
  AuthorizationHeaderMalformed: 'the bucket is in another region: correct storage.s3.region',
  AccessDenied: REFUSED,
  InvalidAccessKeyId: REFUSED,
  SignatureDoesNotMatch: REFUSED,
  ExpiredToken: 'the credentials have expired',
  RequestTimeTooSkewed: "this machine's clock is wrong",
  CredentialsProviderError:
    'no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with AWS_PROFILE, or give the machine a role',
};
const FULL = new Set(['QuotaExceeded', 'InsufficientStorage', 'XMinioStorageFull', 'EntityTooLarge']);

export function statusOf(error: unknown): number | undefined {
  return (error as ServiceError).$metadata?.httpStatusCode;
}

/** A BlobStoreError for an error of the SDK; 'unavailable' unless it is about space. Its cause is left out, see above. */
export function asS3Error(operation: string, error: unknown): BlobStoreError {
  if (error instanceof BlobStoreError) return error;
  const { name, message, code, $metadata } = error as ServiceError;
  const words = [String(name ?? 'Error')];
  if (typeof code === 'string') words.push(code);
  if ($metadata?.httpStatusCode !== undefined) words.push(`status ${$metadata.httpStatusCode}`);
  if ($metadata?.requestId !== undefined) words.push(`request ${$metadata.requestId}`);
  const remedy = remedies[String(name)];
  // A server's own text may quote what it was sent; a failure to reach it only names the address.
  const local = $metadata?.httpStatusCode === undefined && typeof message === 'string' ? message : undefined;
  const detail = `${operation} failed (${words.join(', ')})${(remedy ?? local) ? `: ${remedy ?? local}` : ''}`;
  return new BlobStoreError(FULL.has(String(name)) ? 'no-space' : 'unavailable', detail);
}
