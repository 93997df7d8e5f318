import { createHash } from 'node:crypto';
import { OciError } from './errors.ts';

declare const brand: unique symbol;

/** A checked content digest, always `sha256:` and 64 lower-case hex digits (OCI image-spec, descriptor). */
export type Digest = string & { readonly [brand]: 'Digest' };

/**
 * Checks a digest. Only sha256 is stored: the specification obliges nobody to accept more.
 * @throws OciError DIGEST_INVALID
 */
export function parseDigest(text: string): Digest {
  if (/^sha256:[0-9a-f]{64}$/.test(text)) return text as Digest;
  const known = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/.test(text);
  throw new OciError(
    'DIGEST_INVALID',
    known ? 'the digest is not a sha256 digest of 64 lower-case hex digits' : 'the digest is malformed',
    { digest: text.slice(0, 200) },
  );
}

/** The 64 hex digits. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** The digest of a sha256 that was computed here. Throws a RangeError when it is not one. */
export function toSha256Digest(hash: Uint8Array | string): Digest {
  const hex = typeof hash === 'string' ? hash : Buffer.from(hash).toString('hex');
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new RangeError('not a sha256');
  return `sha256:${hex}` as Digest;
}

/** The digest of a small body. Large content is hashed as it streams. */
export function sha256DigestOf(bytes: Uint8Array): Digest {
  return toSha256Digest(createHash('sha256').update(bytes).digest());
}
