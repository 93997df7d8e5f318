/**
 * The tokens of the docker token flow: signed JWTs (RFC 7519) that name a user and what was granted.
 * A token never gives more than the rules give its user now: a grant is what was asked for, the rules
 * are asked again at each use.
 */
import { createHash, randomUUID } from 'node:crypto';
import { decodeProtectedHeader, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import type { Scope } from '#auth';
import { createBoundedMap } from '#bounded';
import { LONGEST_LIFE_MS, type SigningKey } from './keys.ts';
import type { Subject } from './rules.ts';

/** The `service` of challenges, and the audience of tokens. */
export const SERVICE = 'shoal';

export interface Claims {
  readonly subject: Subject;
  /** Of the password that the user had; see Logins. */
  readonly version: string | undefined;
  readonly grants: readonly Scope[];
}

export interface Tokens {
  /** For requests. `lifetimeSeconds` from now. */
  issue(claims: Claims, lifetimeSeconds: number): Promise<string>;
  /** To get tokens later without the password. */
  issueRefresh(claims: Omit<Claims, 'grants'>): Promise<string>;
  /** Undefined: forged, expired, malformed or of the other kind. */
  verify(token: string, kind: 'access' | 'refresh'): Promise<Claims | undefined>;
  replace(keys: readonly SigningKey[]): void;
}

const ALGORITHM = 'EdDSA';
/** What Node takes as headers is 16 KiB. */
const MAX_TOKEN = 12_288;
const MAX_REMEMBERED = 10_000;
const payload = z.object({
  sub: z.string(),
  exp: z.number(),
  kind: z.enum(['access', 'refresh']),
  ver: z.string().optional(),
  access: z.array(z.object({ type: z.string(), name: z.string(), actions: z.array(z.string()) })).default([]),
});

export function createTokens(options: {
  readonly keys: readonly SigningKey[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Tokens {
  const { now } = options;
  let { keys } = options;
  /** Tokens that were right, by their hash: one pull sends the same token many times. */
  const remembered = createBoundedMap<
    string,
    { readonly claims: Claims; readonly kind: string; readonly until: number }
  >(MAX_REMEMBERED);

  const sign = (
    kind: 'access' | 'refresh',
    { subject, version }: Omit<Claims, 'grants'>,
    grants: readonly Scope[],
    lifetimeSeconds: number,
  ): Promise<string> => {
    const [key] = keys;
    if (key === undefined) throw new Error('no signing key');
    const issuedAt = Math.floor(now() / 1000);
    return new SignJWT({ kind, ...(version !== undefined && { ver: version }), access: [...grants] })
      .setProtectedHeader({ alg: ALGORITHM, kid: key.kid, typ: 'JWT' })
      .setIssuer(SERVICE)
      .setAudience(SERVICE)
      .setSubject(subject ?? '')
      .setIssuedAt(issuedAt)
      .setNotBefore(issuedAt)
      .setExpirationTime(issuedAt + lifetimeSeconds)
      .setJti(randomUUID())
      .sign(key.privateKey);
  };

  const check = async (token: string): Promise<z.infer<typeof payload> | undefined> => {
    try {
      const { kid } = decodeProtectedHeader(token);
      const key = keys.find((each) => each.kid === kid);
      if (key === undefined) return undefined;
      const verified = await jwtVerify(token, key.publicKey, {
        algorithms: [ALGORITHM],
        issuer: SERVICE,
        audience: SERVICE,
        currentDate: new Date(now()),
        // Origins that share keys have clocks of their own.
        clockTolerance: 5,
      });
      return payload.parse(verified.payload);
    } catch {
      return undefined;
    }
  };

  return {
    issue: (claims, lifetimeSeconds) => sign('access', claims, claims.grants, lifetimeSeconds),
    issueRefresh: (claims) => sign('refresh', claims, [], LONGEST_LIFE_MS / 1000),
    async verify(token, kind) {
      if (token.length > MAX_TOKEN) return undefined;
      const hash = createHash('sha256').update(token).digest('base64');
      const known = remembered.get(hash);
      if (known && known.until > now()) return known.kind === kind ? known.claims : undefined;
      remembered.delete(hash);
      const found = await check(token);
      if (found === undefined) return undefined;
      const claims: Claims = { subject: found.sub || undefined, version: found.ver, grants: found.access };
      remembered.set(hash, { claims, kind: found.kind, until: found.exp * 1000 });
      return found.kind === kind ? claims : undefined;
    },
    replace(next) {
      keys = next;
      remembered.clear();
    },
  };
}
