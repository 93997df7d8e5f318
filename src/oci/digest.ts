import { createHash } from 'node:crypto';
import { OciError } from './errors.ts';

declare const brand: unique symbol;

/** A checked content digest: `sha256:` and 64, or `sha512:` and 128 lower-case hex digits (OCI image-spec, descriptor). */
export type Digest = string & { readonly [brand]: 'Digest' };

/** The algorithms that the image specification registers and Shoal computes. */
export type DigestAlgorithm = 'sha256' | 'sha512';

/** Hex digits of each algorithm; the number tells them apart where only the digits are kept. */
const HEX_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };

/**
 * Checks a digest.
 * @throws OciError DIGEST_INVALID
 */
export function parseDigest(text: string): Digest {
  if (/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text)) return text as Digest;
  const known = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/.test(text);
  throw new OciError(
    'DIGEST_INVALID',
    known
      ? 'the digest is neither sha256 with 64 nor sha512 with 128 lower-case hex digits'
      : 'the digest is malformed',
    { digest: text.slice(0, 200) },
  );
}

/**
 * Checks the name of an algorithm, as `?digest-algorithm=` gives it.
 * @throws OciError DIGEST_INVALID
 */
export function parseDigestAlgorithm(text: string): DigestAlgorithm {
  if (text === 'sha256' || text === 'sha512') return text;
  throw new OciError('DIGEST_INVALID', 'the digest algorithm must be sha256 or sha512', {
    algorithm: text.slice(0, 100),
  });
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha512:') ? 'sha512' : 'sha256';
}

/** The hex digits. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** The digest that these hex digits are of, by their number. Throws a RangeError when it is none. */
export function digestOfHex(hex: string): Digest {
  const algorithm = hex.length === HEX_LENGTH.sha512 ? 'sha512' : 'sha256';
  if (hex.length !== HEX_LENGTH[algorithm] || !/^[0-9a-f]+$/.test(hex)) {
    throw new RangeError('neither a sha256 nor a sha512');
  }
  return `${algorithm}:${hex}` as Digest;
}

/** The digest of a sha256 that was computed here. Throws a RangeError when it is not one. */
export function toSha256Digest(hash: Uint8Array | string): Digest {
  const hex = typeof hash === 'string' ? hash : Buffer.from(hash).toString('hex');
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new RangeError('not a sha256');
  return `sha256:${hex}` as Digest;
}

/** The digest of a small body. Large content is hashed as it streams. */
export function digestOf(algorithm: DigestAlgorithm, bytes: Uint8Array): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

/** The sha256 digest of a small body: what content has that nobody named yet. */
export function sha256DigestOf(bytes: Uint8Array): Digest {
  return digestOf('sha256', bytes);
}
