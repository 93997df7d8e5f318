/**
 * Passkeys of a cluster: what a URL of metainfo carries where the origin has no users, so that a BitTorrent
 * client may use it. Each is bound to one use and one blob and names the member to whom the metainfo was
 * given; it ends with its time, or with that member's revocation.
 *
 *     base64url(expiry in s, 4 bytes | public key of the member, 32 bytes | MAC, 16 bytes)
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { publicKeyFromRaw } from '@libp2p/crypto/keys';
import { peerIdFromPublicKey, peerIdFromString } from '@libp2p/peer-id';
import type { Cluster } from './cluster.ts';
import type { ClusterKey } from './keys.ts';

const EXPIRY_BYTES = 4;
const KEY_BYTES = 32;
const MAC_BYTES = 16;
const TEXT = /^[A-Za-z0-9_-]{70}$/;

/** `blob` is an infohash for announces, a digest for the blob itself. */
export function signClusterPasskey(
  { macKey }: ClusterKey,
  use: 'announce' | 'blob',
  blob: string,
  peerId: string,
  expiresAtMs: number,
): string {
  const raw = peerIdFromString(peerId).publicKey?.raw;
  if (raw?.length !== KEY_BYTES) throw new RangeError('the peer id has no key of its own');
  const payload = Buffer.alloc(EXPIRY_BYTES + KEY_BYTES);
  payload.writeUInt32BE(Math.floor(expiresAtMs / 1000));
  payload.set(raw, EXPIRY_BYTES);
  return Buffer.concat([payload, mac(macKey, use, blob, payload)]).toString('base64url');
}

/** Whether it opens this blob for this use now. */
export function checkClusterPasskey(
  { macKey }: ClusterKey,
  cluster: Cluster,
  use: 'announce' | 'blob',
  blob: string,
  text: string,
  nowMs: number,
): boolean {
  if (!TEXT.test(text)) return false;
  const bytes = Buffer.from(text, 'base64url');
  const payload = bytes.subarray(0, EXPIRY_BYTES + KEY_BYTES);
  const given = bytes.subarray(EXPIRY_BYTES + KEY_BYTES);
  if (given.length !== MAC_BYTES || !timingSafeEqual(mac(macKey, use, blob, payload), given)) return false;
  if (payload.readUInt32BE() * 1000 <= nowMs) return false;
  const key = publicKeyFromRaw(payload.subarray(EXPIRY_BYTES));
  return !cluster.isRevoked(peerIdFromPublicKey(key).toString());
}

function mac(macKey: Uint8Array, use: string, blob: string, payload: Uint8Array): Buffer {
  return createHmac('sha256', macKey)
    .update(`${use}\0${blob}\0`)
    .update(payload)
    .digest()
    .subarray(0, MAC_BYTES);
}
