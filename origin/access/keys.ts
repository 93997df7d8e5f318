/**
 * The keys that sign tokens and passkeys: a file that only its owner may read, made at the first start.
 * The newest key signs; older ones still verify until nothing that they signed can be valid. Origins
 * that share the file accept each other's tokens. Deleting it ends every token and passkey.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { ConfigError } from '#config';
import { writeDurably } from '#durable';
import type { Logger } from '#telemetry';

export interface SigningKey {
  readonly kid: string;
  /** Ed25519, for tokens. */
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** For passkeys. */
  readonly macKey: Uint8Array;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}

const jwk = z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), d: z.string(), x: z.string() });
const content = z.object({
  keys: z
    .array(z.object({ kid: z.string(), createdAt: z.string(), key: jwk }))
    .min(1)
    .max(100),
});
type Stored = z.infer<typeof content>['keys'][number];

const DAY_MS = 24 * 3_600_000;
export const ROTATE_AFTER_MS = 90 * DAY_MS;
/** The longest that anything signed is valid: a refresh token. */
export const LONGEST_LIFE_MS = 30 * DAY_MS;

/**
 * Reads the keys, the newest first; makes the first one, or the next when the newest is old.
 * @throws ConfigError for a file that is not ours
 */
export async function openKeys(file: string, log: Logger, now = Date.now()): Promise<readonly SigningKey[]> {
  const stored = await readStored(file, log);
  stored.sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
  const newest = stored[0];
  if (newest === undefined || now - Date.parse(newest.createdAt) > ROTATE_AFTER_MS) {
    stored.unshift(generate(now));
    const keep = stored.filter(
      (each) => now - Date.parse(each.createdAt) <= ROTATE_AFTER_MS + LONGEST_LIFE_MS || each === stored[1],
    );
    await writeDurably(file, JSON.stringify({ keys: keep }, null, 2));
    log.info({ file, kid: keep[0]?.kid }, 'new signing key');
    return keep.map(toKey);
  }
  return stored.map(toKey);
}

async function readStored(file: string, log: Logger): Promise<Stored[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0) log.warn({ file }, 'others may read the signing keys: chmod 600');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  try {
    return content.parse(JSON.parse(text)).keys;
  } catch {
    throw new ConfigError([`${file}: these are not signing keys of Shoal; move the file away to begin anew`]);
  }
}

function generate(now: number): Stored {
  const { privateKey } = generateKeyPairSync('ed25519');
  const kid = randomBytes(6).toString('hex');
  return {
    kid,
    createdAt: new Date(now).toISOString(),
    key: jwk.parse(privateKey.export({ format: 'jwk' })),
  };
}

function toKey({ kid, createdAt, key }: Stored): SigningKey {
  const privateKey = createPrivateKey({ key, format: 'jwk' });
  const seed = Buffer.from(key.d, 'base64url');
  return {
    kid,
    privateKey,
    publicKey: createPublicKey(privateKey),
    macKey: new Uint8Array(hkdfSync('sha256', seed, '', 'shoal passkey', 32)),
    createdAt: Date.parse(createdAt),
  };
}
