/** The key by which a member is known: made once, kept in a file that only its owner can read. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { writeDurably } from '#durable';
import type { Identity } from '../../port.ts';

/** Loaded only when a key is wanted: few commands need one. */
const loadKeys = () => import('@libp2p/crypto/keys');
const loadPeerId = () => import('@libp2p/peer-id');

/** A protobuf of an Ed25519 key is 68 bytes; no key that we take is larger than this. */
const MAX_KEY_BYTES = 4_096;

/** A new identity, in memory only. */
export async function createIdentity(): Promise<Identity> {
  const { generateKeyPair, privateKeyToProtobuf } = await loadKeys();
  return identityOf(privateKeyToProtobuf(await generateKeyPair('Ed25519')));
}

/** Where a program keeps its identity below its data folder. */
export function identityFile(data: string): string {
  return path.join(data, 'identity.key');
}

/**
 * The identity kept at `file` (libp2p's protobuf of an Ed25519 private key); made and written there,
 * durably and with mode 0600, when there is none. Rejects when the file is not a key, for a new
 * one would make another member of us.
 */
export async function loadIdentity(file: string): Promise<Identity> {
  const kept = await readKept(file);
  if (kept !== undefined) return kept;
  const identity = await createIdentity();
  await writeDurably(file, identity.privateKey);
  return identity;
}

async function identityOf(privateKey: Uint8Array): Promise<Identity> {
  const { privateKeyFromProtobuf } = await loadKeys();
  const { peerIdFromPrivateKey } = await loadPeerId();
  const key = privateKeyFromProtobuf(privateKey);
  // Addresses of members are read for this kind alone: one length, one prefix.
  if (key.type !== 'Ed25519') throw new Error(`${key.type} instead of Ed25519`);
  return { peerId: peerIdFromPrivateKey(key).toString(), privateKey };
}

async function readKept(file: string): Promise<Identity | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    if (bytes.length > MAX_KEY_BYTES) throw new Error('too large');
    return await identityOf(bytes);
  } catch (error) {
    throw new Error(`${file} is not a key of libp2p`, { cause: error });
  }
}
