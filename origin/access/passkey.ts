/**
 * Passkeys: what a URL in metainfo carries so that a BitTorrent client, which cannot log in, may use
 * it. Each is bound to one use and one blob, names the repository and the user to whom the metainfo
 * was given, and expires; it ends with that user's password, as a token does. The rules are asked
 * again when it is used.
 *
 *     base64url(expiry in s, 4 bytes | length of user, 1 byte | user | repository | MAC, 16 bytes)
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SigningKey } from './keys.ts';
import type { Subject } from './rules.ts';

/** `announce` is bound to an infohash, `blob` to a digest. */
export type PasskeyUse = 'announce' | 'blob';

export interface PasskeyClaims {
  readonly subject: Subject;
  readonly repository: string;
}

const MAC_BYTES = 16;
const HEAD_BYTES = 5;
const MAX_TEXT = 1_024;

/** Names the password that a user has now; undefined: there is no such user. */
export type VersionOf = (subject: string) => string | undefined;

export function signPasskey(
  key: SigningKey,
  use: PasskeyUse,
  blob: string,
  { subject = '', repository }: PasskeyClaims,
  expiresAtMs: number,
  versionOf: VersionOf,
): string {
  const user = Buffer.from(subject, 'utf8');
  if (user.length > 255) throw new RangeError('the user name is too long for a passkey');
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(Math.floor(expiresAtMs / 1000));
  head.writeUInt8(user.length, 4);
  const payload = Buffer.concat([head, user, Buffer.from(repository, 'utf8')]);
  const version = subject === '' ? '' : (versionOf(subject) ?? '');
  return Buffer.concat([payload, mac(key, use, blob, version, payload)]).toString('base64url');
}

/** Undefined: forged, expired, malformed, of another use or blob, or of a user whose password changed. */
export function verifyPasskey(
  keys: readonly SigningKey[],
  use: PasskeyUse,
  blob: string,
  text: string,
  nowMs: number,
  versionOf: VersionOf,
): PasskeyClaims | undefined {
  if (text.length > MAX_TEXT || !/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length < HEAD_BYTES + MAC_BYTES + 1) return undefined;
  const payload = bytes.subarray(0, -MAC_BYTES);
  const given = bytes.subarray(-MAC_BYTES);
  const userEnd = HEAD_BYTES + payload.readUInt8(4);
  const subject = payload.toString('utf8', HEAD_BYTES, userEnd) || undefined;
  const version = subject === undefined ? '' : versionOf(subject);
  if (version === undefined) return undefined;
  if (!keys.some((key) => timingSafeEqual(mac(key, use, blob, version, payload), given))) return undefined;
  if (payload.readUInt32BE() * 1000 <= nowMs) return undefined;
  return { subject, repository: payload.toString('utf8', userEnd) };
}

/** No part but the last holds a NUL: digests, infohashes and versions are checked or made here. */
function mac(
  { macKey }: SigningKey,
  use: PasskeyUse,
  blob: string,
  version: string,
  payload: Uint8Array,
): Buffer {
  return createHmac('sha256', macKey)
    .update(`${use}\0${blob}\0${version}\0`)
    .update(payload)
    .digest()
    .subarray(0, MAC_BYTES);
}
