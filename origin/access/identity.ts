/** Who sends a request: nobody in particular, a user by Basic, or whom a token was given to. */
import type { FastifyRequest } from 'fastify';
import { parseBasic, type Scope } from '#auth';
import type { Logins } from './logins.ts';
import type { Subject } from './rules.ts';
import type { Tokens } from './tokens.ts';

export type Identity =
  | { readonly kind: 'none'; readonly subject: undefined }
  | { readonly kind: 'basic'; readonly subject: string }
  | { readonly kind: 'token'; readonly subject: Subject; readonly grants: readonly Scope[] };

/** Why a request is nobody's. `retryAfterSeconds`: too many failures, or too many log-ins at once. */
export interface Refusal {
  readonly reason: 'wrong' | 'invalid-token' | 'limited' | 'busy';
  readonly retryAfterSeconds?: number;
}

const ANYBODY: Identity = { kind: 'none', subject: undefined };

export async function identify(
  request: FastifyRequest,
  { logins, tokens }: { readonly logins: Logins; readonly tokens: Tokens },
): Promise<Identity | Refusal> {
  const header = request.headers.authorization;
  if (header === undefined) return ANYBODY;
  const bearer = /^bearer +([\w.~+/-]+=*) *$/i.exec(header)?.[1];
  if (bearer !== undefined) {
    const claims = await tokens.verify(bearer, 'access');
    const valid = claims && stillValid(claims, logins);
    return valid
      ? { kind: 'token', subject: claims.subject, grants: claims.grants }
      : { reason: 'invalid-token' };
  }
  const basic = parseBasic(header);
  if (basic === undefined) return { reason: 'wrong' };
  const refusal = await logIn(logins, basic.username, basic.password, request.ip);
  return refusal ?? { kind: 'basic', subject: basic.username };
}

/** Undefined: right. */
export async function logIn(
  logins: Logins,
  username: string,
  password: string,
  address: string,
): Promise<Refusal | undefined> {
  const result = await logins.check(username, password, address);
  if (result === 'right') return undefined;
  if (result === 'wrong') return { reason: 'wrong' };
  if (result === 'busy') return { reason: 'busy', retryAfterSeconds: 1 };
  return { reason: 'limited', retryAfterSeconds: result.retryAfterSeconds };
}

/** A token ends with its user, and with the user's password. */
export function stillValid(
  { subject, version }: { readonly subject: Subject; readonly version: string | undefined },
  logins: Logins,
): boolean {
  return subject === undefined || (version !== undefined && logins.versionOf(subject) === version);
}
