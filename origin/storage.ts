/** Where the origin keeps blobs: files below its data folder, or an S3 bucket. */
import type { S3Options } from '#blobs';
import { ConfigError, derived, oneOf, optional, size, string, url, type Values, withDefault } from '#config';

const MIB = 1024 ** 2;
/** S3's own floor; the ceiling keeps four parts in flight within sensible memory. */
const PART_BYTES = { least: 5 * MIB, most: 512 * MIB } as const;

export const storageOptions = {
  'storage.kind': withDefault(oneOf('file', 's3'), 'file', 'where blobs are kept'),
  'storage.s3.bucket': optional(
    string('NAME', 'the name of a bucket', /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/),
    'bucket of the blobs; credentials come from where AWS tools look',
  ),
  'storage.s3.prefix': optional(
    string('PATH', 'a path such as registry/blobs', /^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/),
    'path of all keys in the bucket; no other origin may use it',
  ),
  'storage.s3.region': optional(
    string('REGION', 'a region such as eu-central-1', /^[A-Za-z0-9-]{1,64}$/),
    'region of the bucket; by default as AWS_REGION or the AWS configuration say',
  ),
  'storage.s3.endpoint': optional(url, 'URL of an S3 server that is not AWS'),
  'storage.s3.addressing': derived(
    oneOf('path', 'virtual'),
    (earlier) => (earlier('storage.s3.endpoint') === undefined ? 'virtual' : 'path'),
    'path with an endpoint, else virtual',
    'whether the bucket is named in the path or in the host',
  ),
  'storage.s3.part-size': withDefault(
    size,
    '8MiB',
    'bytes of a part of a multipart upload; four are in memory',
  ),
  'storage.s3.cache': withDefault(size, '128MiB', 'most memory for what is being read from S3'),
} as const;

/** @throws ConfigError for S3 without a bucket, or for parts that S3 would not take */
export function storageConfig(values: Values<typeof storageOptions>): S3Options | undefined {
  if (values['storage.kind'] === 'file') return undefined;
  const bucket = values['storage.s3.bucket'];
  const partBytes = values['storage.s3.part-size'];
  const problems: string[] = [];
  if (bucket === undefined) problems.push('storage.s3.bucket is needed when storage.kind is s3');
  if (partBytes < PART_BYTES.least || partBytes > PART_BYTES.most)
    problems.push('storage.s3.part-size must be between 5MiB and 512MiB');
  if (bucket === undefined || problems.length > 0) throw new ConfigError(problems);
  return {
    ...{ bucket, partBytes, prefix: values['storage.s3.prefix'] ?? '' },
    region: values['storage.s3.region'],
    endpoint: values['storage.s3.endpoint'],
    addressing: values['storage.s3.addressing'],
    cacheBytes: values['storage.s3.cache'],
  };
}
