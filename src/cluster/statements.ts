/**
 * What a cluster signs, as JWTs (RFC 7519, EdDSA): join tokens, memberships, and revocations. Each kind has an
 * audience of its own, so that none can be taken for another.
 */
import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { decodeJwt, errors, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { isPeerId } from '#multiaddr';
import { type ClusterKey, isClusterId, privateKeyOf, publicKeyOf } from './keys.ts';

/** What a member is for. */
export type MemberRole = 'agent' | 'origin' | 'tracker';

export interface Member {
  readonly peerId: string;
  readonly role: MemberRole;
  /** Milliseconds since the epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** A statement that is not what it should be; the message is for people and holds nothing of it. */
export class StatementError extends Error {
  override readonly name = 'StatementError';
}

const ALGORITHM = 'EdDSA';
const MAX_TEXT = 2_048;
/** Members have clocks of their own. */
const CLOCK_TOLERANCE_S = 5;
const BEFORE_S = 60;
const AUDIENCE = { join: 'shoal-join', member: 'shoal-member', revoked: 'shoal-revoked' } as const;

const seconds = z.number().nonnegative();
const member = z.object({
  sub: z.string().refine(isPeerId),
  role: z.enum(['agent', 'origin', 'tracker']),
  iat: seconds,
  exp: seconds,
});
const join = z.object({
  jti: z.string().max(64),
  exp: seconds,
  uses: z.int().min(1).optional(),
  key: z.string().refine(isClusterId),
});
const revoked = z.object({ sub: z.string().min(1).max(64), iat: seconds });

function sign(
  cluster: ClusterKey,
  audience: string,
  claims: Readonly<Record<string, unknown>>,
  now: number,
): Promise<string> {
  const issuedAt = Math.floor(now / 1000);
  return new SignJWT({ ...claims, iat: issuedAt, nbf: issuedAt - BEFORE_S })
    .setProtectedHeader({ alg: ALGORITHM })
    .setIssuer(cluster.id)
    .setAudience(audience)
    .sign(cluster.privateKey);
}

async function verify<T>(
  clusterId: string,
  audience: string,
  text: string,
  schema: z.ZodType<T>,
  now: number,
): Promise<T> {
  if (text.length > MAX_TEXT) throw new StatementError('it is too long');
  try {
    const { payload } = await jwtVerify(text, publicKeyOf(clusterId), {
      algorithms: [ALGORITHM],
      issuer: clusterId,
      audience,
      currentDate: new Date(now),
      clockTolerance: CLOCK_TOLERANCE_S,
    });
    return schema.parse(payload);
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw new StatementError('it has expired');
    if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'nbf') {
      throw new StatementError('it is not valid yet: are the clocks right?');
    }
    if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'iss') {
      throw new StatementError('it is of another cluster');
    }
    throw new StatementError('this cluster did not sign it');
  }
}

/** Binds a membership to a peer id. */
export function signMembership(
  cluster: ClusterKey,
  { peerId, role }: Pick<Member, 'peerId' | 'role'>,
  lifetimeMs: number,
  now: number,
): Promise<string> {
  return sign(
    cluster,
    AUDIENCE.member,
    { sub: peerId, role, exp: Math.ceil((now + lifetimeMs) / 1000) },
    now,
  );
}

/** @throws StatementError when it is not a membership of this cluster that counts now */
export async function verifyMembership(clusterId: string, text: string, now: number): Promise<Member> {
  const { sub, role, iat, exp } = await verify(clusterId, AUDIENCE.member, text, member, now);
  return { peerId: sub, role, issuedAt: iat * 1000, expiresAt: exp * 1000 };
}

/** `subject`: a peer id, or the id of a join token. Revocations do not expire. */
export function signRevocation(cluster: ClusterKey, subject: string, now: number): Promise<string> {
  return sign(cluster, AUDIENCE.revoked, { sub: subject }, now);
}

/** Answers with what is revoked. @throws StatementError */
export async function verifyRevocation(clusterId: string, text: string, now: number): Promise<string> {
  return (await verify(clusterId, AUDIENCE.revoked, text, revoked, now)).sub;
}

export interface JoinClaims {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** How many members it may bring in at one origin; undefined: any number. */
  readonly uses: number | undefined;
  /** Of the key whose holder may join. */
  readonly publicKey: KeyObject;
}

/** A join token as its file holds it: what the cluster signed, and the key that it speaks of. */
export interface JoinToken {
  readonly clusterId: string;
  /** What is sent; of no use without the key, which is not. */
  readonly statement: string;
  readonly privateKey: KeyObject;
}

const PREFIX = 'shoal-join.';

/** The text of a new join token. Who has it can make any machine a member. */
export async function createJoinToken(
  cluster: ClusterKey,
  options: { readonly lifetimeMs: number; readonly uses: number | undefined; readonly now: number },
): Promise<{ readonly text: string; readonly id: string; readonly expiresAt: number }> {
  const { now, uses } = options;
  const key = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const id = randomBytes(8).toString('hex');
  const exp = Math.ceil((now + options.lifetimeMs) / 1000);
  const claims = { jti: id, exp, key: key.x, ...(uses !== undefined && { uses }) };
  const statement = await sign(cluster, AUDIENCE.join, claims, now);
  return { text: `${PREFIX}${statement}.${key.d}`, id, expiresAt: exp * 1000 };
}

/** Reads the text of a join token. Its signature is the origin's to check. @throws StatementError */
export function parseJoinToken(text: string): JoinToken {
  const trimmed = text.trim();
  const match = /^shoal-join\.([\w-]+\.[\w-]+\.[\w-]+)\.([\w-]{43})$/.exec(trimmed);
  const [, statement, secret] = match ?? [];
  if (statement === undefined || secret === undefined || trimmed.length > MAX_TEXT) {
    throw new StatementError("it is no join token: 'shoal cluster join-token' makes one");
  }
  try {
    const { iss = '', key } = decodeJwt<{ key: unknown }>(statement);
    if (!isClusterId(iss) || typeof key !== 'string') throw new Error('claims');
    return { clusterId: iss, statement, privateKey: privateKeyOf(secret, key) };
  } catch {
    throw new StatementError("it is no join token: 'shoal cluster join-token' makes one");
  }
}

/** @throws StatementError when this cluster did not sign it, or it has expired */
export async function verifyJoinStatement(clusterId: string, text: string, now: number): Promise<JoinClaims> {
  const { jti, exp, uses, key } = await verify(clusterId, AUDIENCE.join, text, join, now);
  return { id: jti, expiresAt: exp * 1000, uses, publicKey: publicKeyOf(key) };
}
