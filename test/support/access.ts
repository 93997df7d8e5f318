/** Access control for tests: a user file, rules from texts as a flag has them, tokens as clients get them. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { hashSync } from 'bcryptjs';
import { formatBasic } from '#auth';
import { resolveOptions } from '#config';
import type { OriginConfig } from '#origin';
import { originConfig, originOptions } from '#origin/options';
import type { Answer, TestOrigin } from './origin.ts';

/** The least that bcrypt has: tests log in often. */
const COST = 4;

export async function writeHtpasswd(file: string, users: Readonly<Record<string, string>>): Promise<void> {
  const lines = Object.entries(users).map(([user, password]) => `${user}:${hashSync(password, COST)}\n`);
  await writeFile(file, lines.join(''));
}

export interface AccessSetup {
  readonly access: NonNullable<OriginConfig['access']>;
  readonly htpasswd: string;
}

/** The access part of an origin's configuration, made as the command line makes it, with a new user file. */
export async function accessOf(
  folder: string,
  users: Readonly<Record<string, string>>,
  rules: readonly string[],
  flags: Readonly<Record<string, readonly string[]>> = {},
): Promise<AccessSetup> {
  const htpasswd = path.join(folder, 'htpasswd');
  await writeHtpasswd(htpasswd, users);
  return { access: accessFrom(htpasswd, rules, flags), htpasswd };
}

/** The same for a user file that is there. */
export function accessFrom(
  htpasswd: string,
  rules: readonly string[],
  flags: Readonly<Record<string, readonly string[]>> = {},
): AccessSetup['access'] {
  const { values } = resolveOptions(originOptions, {
    flags: { 'access-htpasswd': [htpasswd], 'access-rules': rules, ...flags },
  });
  const { access } = originConfig(values);
  if (access === undefined) throw new Error('no access');
  return access;
}

export function basic(user: string, password: string): Record<string, string> {
  return { authorization: formatBasic(user, password) };
}

export interface TokenAnswer {
  readonly token: string;
  readonly access_token: string;
  readonly expires_in: number;
  readonly issued_at: string;
  readonly scope: string;
  readonly refresh_token?: string;
}

/** GET /v2/auth as docker does it; `user` undefined: anonymous. */
export async function getToken(
  origin: TestOrigin,
  user: readonly [string, string] | undefined,
  ...scopes: readonly string[]
): Promise<TokenAnswer> {
  const query = new URLSearchParams(scopes.map((scope): [string, string] => ['scope', scope]));
  const answer = await origin.call('GET', `/v2/auth?service=shoal&${query}`, {
    headers: user ? basic(...user) : {},
  });
  if (answer.status !== 200) throw new Error(`the token service answered ${answer.status}: ${answer.body}`);
  return answer.json() as TokenAnswer;
}

export function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

export function postForm(origin: TestOrigin, form: Readonly<Record<string, string>>): Promise<Answer> {
  return origin.call('POST', '/v2/auth', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
  });
}
