/** The options of access, and how their values become its configuration. */
import {
  ConfigError,
  duration,
  type Kind,
  type Option,
  oneOf,
  optional,
  path,
  repeated,
  type Values,
  withDefault,
} from '#config';
import { LONGEST_LIFE_MS } from './keys.ts';
import { accessGroup, accessRule, checkRules, EVERY_USER, type Group, type Rule } from './rules.ts';

export interface AccessConfig {
  /** The user file; undefined: nobody can log in. */
  readonly htpasswdFile?: string | undefined;
  readonly rules: readonly Rule[];
  readonly groups: readonly Group[];
  /** What a client of /v2 is asked for; the other is accepted too. */
  readonly challenge: 'token' | 'basic';
  readonly tokenLifetimeMs: number;
  readonly passkeyLifetimeMs: number;
  /** The signing keys; by default in the data folder. */
  readonly keyFile?: string | undefined;
}

export const accessOptions = {
  'access.htpasswd': optional(
    path,
    'users and their bcrypt hashes (htpasswd -B); without it and access.rules everybody may do everything',
  ),
  'access.rules': repeated(
    accessRule,
    'a right: subject (anonymous, authenticated, user:NAME, group:NAME), repositories (names or patterns with * and **; ' +
      'default **), actions (pull, push, delete, catalog, metrics, join, manage; * is all, with repositories the first three); default: every user may do everything',
  ),
  'access.groups': repeated(accessGroup, 'a group of users that rules may name'),
  'access.challenge': withDefault(
    oneOf('token', 'basic') as Kind<'token' | 'basic'>,
    'token',
    'what clients of /v2 are asked for; either is accepted',
  ),
  'access.token-lifetime': withDefault(duration, '5m', 'how long a token is valid'),
  'access.passkey-lifetime': withDefault(
    duration,
    '12h',
    'how long the announce and web seed URLs of a .torrent are valid',
  ),
  'access.key-file': optional(
    path,
    'keys that sign tokens and passkeys, made when missing; by default in data. Origins that share it accept each other',
  ),
} as const satisfies Record<string, Option>;

/** Undefined: no access control. @throws ConfigError for rules that cannot be used */
export function accessConfig(values: Values<typeof accessOptions>): AccessConfig | undefined {
  const htpasswdFile = values['access.htpasswd'];
  const rules = values['access.rules'];
  const groups = values['access.groups'];
  if (htpasswdFile === undefined && rules.length === 0) {
    if (groups.length > 0) throw new ConfigError(['access.groups: groups need --access-htpasswd']);
    return undefined;
  }
  checkRules(rules, groups, htpasswdFile !== undefined);
  for (const key of ['access.token-lifetime', 'access.passkey-lifetime'] as const) {
    if (values[key] < 1_000 || values[key] > LONGEST_LIFE_MS) {
      throw new ConfigError([`${key}: expected 1s to ${LONGEST_LIFE_MS / 86_400_000}d`]);
    }
  }
  return {
    htpasswdFile,
    rules: rules.length > 0 ? rules : [EVERY_USER],
    groups,
    challenge: values['access.challenge'],
    tokenLifetimeMs: values['access.token-lifetime'],
    passkeyLifetimeMs: values['access.passkey-lifetime'],
    keyFile: values['access.key-file'],
  };
}
