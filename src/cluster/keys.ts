/**
 * The keys of admission, all Ed25519: the cluster's, which signs memberships; a member's, which is its libp2p
 * identity; and that of a join token. A cluster is named by its public key, so whoever knows the name can check
 * what the cluster signed.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys';
import { peerIdFromString } from '@libp2p/peer-id';
import { z } from 'zod';
import { ConfigError } from '#config';
import { writeDurably } from '#durable';
import { isPeerId } from '#multiaddr';
import type { Identity } from '#swarm';

export interface ClusterKey {
  /** The name of the cluster: its public key, base64url. */
  readonly id: string;
  readonly privateKey: KeyObject;
  /** For the passkeys of announce URLs. */
  readonly macKey: Uint8Array;
}

const MAX_FILE_BYTES = 4_096;
const KEY_TEXT = /^[A-Za-z0-9_-]{43}$/;
const keyText = z.string().regex(KEY_TEXT);
const content = z.object({
  cluster: keyText,
  key: z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), d: keyText, x: keyText }),
});

/** Where the origin keeps it below its data folder. */
export function clusterKeyFile(data: string): string {
  return path.join(data, 'cluster.key');
}

/** Whether this can be the name of a cluster. */
export function isClusterId(text: string): boolean {
  return KEY_TEXT.test(text);
}

/** Makes the key of a new cluster, durably and with mode 0600; one that is there stays. @throws ConfigError when the file is no key */
export async function initCluster(
  file: string,
): Promise<{ readonly key: ClusterKey; readonly created: boolean }> {
  const there = await readClusterKey(file);
  if (there !== undefined) return { key: there, created: false };
  const { privateKey } = generateKeyPairSync('ed25519');
  const key = privateKey.export({ format: 'jwk' });
  const created = await writeDurably(file, `${JSON.stringify({ cluster: key.x, key }, null, 2)}\n`, {
    exclusive: true,
  });
  const written = await readClusterKey(file);
  if (written === undefined) throw new Error(`${file} was removed while it was made`);
  return { key: written, created };
}

/** The cluster's key; undefined when there is no such file. @throws ConfigError when it is no key, or others may read it */
export async function readClusterKey(file: string): Promise<ClusterKey | undefined> {
  let text: string;
  try {
    const { mode, size } = await stat(file);
    if ((mode & 0o077) !== 0) {
      throw new ConfigError([`${file}: others may read the key of the cluster: chmod 600 ${file}`]);
    }
    text = size > MAX_FILE_BYTES ? '' : await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { cluster, key } = content.parse(JSON.parse(text));
    if (key.x !== cluster) throw new Error('another key');
    const privateKey = createPrivateKey({ key, format: 'jwk' });
    // The file might name another public key than the private one has.
    if (createPublicKey(privateKey).export({ format: 'jwk' }).x !== cluster) throw new Error('another key');
    const seed = Buffer.from(key.d, 'base64url');
    const macKey = new Uint8Array(hkdfSync('sha256', seed, '', 'shoal cluster passkey', 32));
    return { id: cluster, privateKey, macKey };
  } catch {
    throw new ConfigError([`${file}: this is not the key of a cluster; move the file away to begin anew`]);
  }
}

/** A raw Ed25519 public key, base64url. @throws Error when it is no point of the curve's length */
export function publicKeyOf(x: string): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

/** A raw Ed25519 private key with its public one, both base64url. */
export function privateKeyOf(d: string, x: string): KeyObject {
  return createPrivateKey({ key: { kty: 'OKP', crv: 'Ed25519', d, x }, format: 'jwk' });
}

/** The key of a member; a libp2p peer id of this kind contains it. Undefined: no such peer id. */
export function memberKey(peerId: string): KeyObject | undefined {
  if (!isPeerId(peerId)) return undefined;
  try {
    const { publicKey } = peerIdFromString(peerId);
    return publicKey && publicKeyOf(Buffer.from(publicKey.raw).toString('base64url'));
  } catch {
    return undefined;
  }
}

/** What a member signs with. */
export function signingKey({ privateKey }: Identity): KeyObject {
  const key = privateKeyFromProtobuf(privateKey);
  if (key.type !== 'Ed25519') throw new Error(`${key.type} instead of Ed25519`);
  const [d, x] = [key.raw.subarray(0, 32), key.publicKey.raw];
  return privateKeyOf(Buffer.from(d).toString('base64url'), Buffer.from(x).toString('base64url'));
}
