/**
 * Access: who may do what at this origin. Without a configuration everybody may do everything.
 *
 *     const access = await openAccess(config, { data, baseFor, aliases, log, metrics });
 *     access.register(app); // the token service, and the guard of what is beside /v2
 *     const may = await access.admit({ request, path, query, names }); // throws 401 or 403
 */
import { createHmac } from 'node:crypto';
import path from 'node:path';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ConfigError } from '#config';
import type { Digest } from '#oci';
import type { Logger, Metrics } from '#telemetry';
import type { InfoHash } from '#torrent';
import {
  actionBeside,
  challenger,
  judge,
  judgeBeside,
  MAY_ALL,
  type May,
  type RegistryRequest,
} from './guard.ts';
import { readHtpasswd, type Users } from './htpasswd.ts';
import { identify } from './identity.ts';
import { openKeys, type SigningKey } from './keys.ts';
import type { LoginLimits } from './limiter.ts';
import { createLogins } from './logins.ts';
import type { AccessConfig } from './options.ts';
import { type PasskeyUse, signPasskey, verifyPasskey } from './passkey.ts';
import { createPolicy, type Policy } from './rules.ts';
import { registerTokenEndpoint, TOKEN_PATH } from './token-endpoint.ts';
import { createTokens } from './tokens.ts';

export type { May } from './guard.ts';
export type { AccessConfig } from './options.ts';

/** What one request on /v2 was found to be allowed. */
export interface Admitted {
  readonly may: May;
  /** A user has logged in. */
  readonly isUser: boolean;
  /** Passkeys for the URLs of metainfo that this client is given; undefined when none are needed. */
  passkeys(repository: string, digest: Digest, infoHash: InfoHash): Passkeys | undefined;
}

export interface Passkeys {
  readonly announce: string;
  readonly blob: string;
}

export interface Access {
  /** Everybody may do everything. */
  readonly open: boolean;
  /** Adds the token service, and guards every route that is not on /v2. */
  register(app: FastifyInstance): void;
  /** @throws OciError UNAUTHORIZED with the challenge, DENIED */
  admit(call: RegistryRequest): Promise<Admitted>;
  /** Whether an announce or scrape with this passkey may speak of this blob. */
  mayAnnounce(infoHash: InfoHash, passkey: string | undefined): boolean;
  /** The key of a blob's draft (see #torrent), the same at each origin with these keys; undefined when everybody may have every blob. */
  draftKey(digest: Digest): Uint8Array | undefined;
  /** Reads users, rules and keys anew. What runs goes on. @throws ConfigError, and all stays as it was */
  reload(config: AccessConfig | undefined): Promise<void>;
  close(): Promise<void>;
}

interface State {
  readonly config: AccessConfig;
  readonly policy: Policy;
  readonly keys: readonly SigningKey[];
  readonly users: Users;
}

/** @throws ConfigError for a user file or key file that cannot be used */
export async function openAccess(
  config: AccessConfig | undefined,
  options: {
    /** Folder of the program. */
    readonly data: string;
    /** This origin's URL as the client of a request sees it. */
    readonly baseFor: (request: FastifyRequest) => string;
    /** The repositories that a pull of this name may be answered from. */
    readonly aliases: (name: string) => readonly string[];
    /** Whether who sends this needs no right `join`: a member of the cluster. */
    readonly joins?: ((request: FastifyRequest) => Promise<boolean>) | undefined;
    readonly limits?: LoginLimits | undefined;
    /** Milliseconds since the epoch. */
    readonly now?: () => number;
    readonly log: Logger;
    readonly metrics: Metrics;
  },
): Promise<Access> {
  const { data, baseFor, aliases, log, metrics } = options;
  const now = options.now ?? Date.now;

  const load = async (next: AccessConfig): Promise<State> => {
    const users: Users = next.htpasswdFile === undefined ? new Map() : await readHtpasswd(next.htpasswdFile);
    const keys = await openKeys(next.keyFile ?? path.join(data, 'access-keys.json'), log, now());
    warnOfStrangers(next, users, log);
    return { config: next, policy: createPolicy(next.rules, next.groups), keys, users };
  };

  let state = config && (await load(config));
  const logins = createLogins({ users: state?.users ?? new Map(), limits: options.limits, log, metrics });
  const tokens = createTokens({ keys: state?.keys ?? [], now });

  /** Whom a passkey lets pull which repository. */
  const keyed = (use: PasskeyUse, blob: string, passkey: string | undefined, current: State) => {
    if (passkey === undefined || blob.includes('\0')) return undefined;
    const claims = verifyPasskey(current.keys, use, blob, passkey, now(), logins.versionOf);
    return claims && current.policy.permits(claims.subject, 'pull', claims.repository) ? claims : undefined;
  };

  return {
    open: config === undefined,
    register(app) {
      registerTokenEndpoint(app, {
        logins,
        tokens,
        policy: () => state?.policy,
        lifetimeMs: () => state?.config.tokenLifetimeMs ?? 0,
        aliases,
      });
      app.addHook('onRequest', async (request, reply) => {
        const action = actionBeside(request.routeOptions.url);
        if (state === undefined || action === undefined) return;
        if (action === 'join' && (await options.joins?.(request))) return;
        judgeBeside(action, await identify(request, { logins, tokens }), state.policy, reply);
      });
    },
    async admit(call) {
      const current = state;
      if (current === undefined) return { may: MAY_ALL, isUser: false, passkeys: () => undefined };
      const { request, path: place, query } = call;
      const passkey = query.get('passkey') ?? undefined;
      if (passkey !== undefined && place.kind === 'blob' && /^(?:GET|HEAD)$/.test(request.method)) {
        const claims = keyed('blob', place.digest, passkey, current);
        if (claims?.repository === place.name) {
          return {
            may: (action, name) => action === 'pull' && name === place.name,
            isUser: false,
            passkeys: () => undefined,
          };
        }
      }
      const identity = await identify(request, { logins, tokens });
      const challenge = challenger(current.config.challenge, `${baseFor(request)}${TOKEN_PATH}`);
      const may = judge(call, identity, current.policy, challenge);
      const subject = 'reason' in identity ? undefined : identity.subject;
      return {
        may,
        isUser: subject !== undefined,
        passkeys(repository, digest, infoHash) {
          const [key] = current.keys;
          if (key === undefined) return undefined;
          const expiresAt = now() + current.config.passkeyLifetimeMs;
          const claims = { subject, repository };
          return {
            announce: signPasskey(key, 'announce', infoHash, claims, expiresAt, logins.versionOf),
            blob: signPasskey(key, 'blob', digest, claims, expiresAt, logins.versionOf),
          };
        },
      };
    },
    mayAnnounce: (infoHash, passkey) =>
      state === undefined || keyed('announce', infoHash, passkey, state) !== undefined,
    draftKey(digest) {
      const [key] = state?.keys ?? [];
      return key && createHmac('sha256', key.macKey).update(`draft\0${digest}`).digest().subarray(0, 20);
    },
    async reload(next) {
      if ((next === undefined) !== (state === undefined)) {
        throw new ConfigError(['access: turning access control on or off needs a restart']);
      }
      if (next === undefined) return;
      const loaded = await load(next);
      logins.replace(loaded.users);
      tokens.replace(loaded.keys);
      state = loaded;
    },
    close: () => logins.close(),
  };
}

function warnOfStrangers({ rules, groups, htpasswdFile }: AccessConfig, users: Users, log: Logger): void {
  const named = [
    ...rules.flatMap(({ subjects }) => subjects.flatMap((subject) => /^user:(.*)$/.exec(subject)?.[1] ?? [])),
    ...groups.flatMap((group) => group.users),
  ];
  const strangers = [...new Set(named)].filter((name) => !users.has(name));
  if (strangers.length > 0) {
    log.warn({ users: strangers, htpasswd: htpasswdFile }, 'rules name users who cannot log in');
  }
}
