/**
 * The vocabulary of the OCI distribution and image specifications: digests, names, references,
 * manifests, errors, ranges and the paths of `/v2`. Text from outside becomes a typed value here,
 * once, or is refused with the specification's error code.
 */
export {
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  digestHex,
  digestOf,
  digestOfHex,
  parseDigest,
  parseDigestAlgorithm,
  sha256DigestOf,
  toSha256Digest,
} from './digest.ts';
export { OciError, type OciErrorCode } from './errors.ts';
export {
  isIndexMediaType,
  isManifestMediaType,
  MANIFEST_MEDIA_TYPES,
  MAX_MANIFEST_BYTES,
  type Manifest,
  type ManifestDescriptor,
  parseManifest,
} from './manifest.ts';
export { type DistributionPath, parseDistributionPath } from './paths.ts';
export { hostPlatform, imageFor, imagesOf } from './platform.ts';
export { type ByteRange, closedRangeLength, parseRange } from './range.ts';
export {
  formatImageReference,
  type ImageReference,
  isRegistryHost,
  parseImageReference,
  parseReference,
  parseRepositoryName,
  parseTag,
  type Reference,
  type RepositoryName,
  type Tag,
} from './reference.ts';
