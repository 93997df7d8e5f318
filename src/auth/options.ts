/** How a program is told its credentials for the origins: by files only, so that no option is a secret. */
import { readFileSync } from 'node:fs';
import { ConfigError, type Option, optional, path, string } from '#config';
import { plainUrl } from '#endpoints';
import { type CredentialsFor, withAuthFiles } from './auth-file.ts';

/** Options of a program that logs in at origins. */
export const credentialOptions = {
  'auth.file': optional(
    path,
    'credentials by host, as docker login or podman login keep them (config.json, auth.json)',
  ),
  'auth.username': optional(
    string('NAME', 'a user name without a colon', /^[^:\s]{1,255}$/),
    'user name for every origin; needs --auth-password-file',
  ),
  'auth.password-file': optional(path, 'file whose first line is the password of auth.username'),
} as const satisfies Record<string, Option>;

/**
 * The credentials for the hosts of these URLs; files are read when they are needed, so that a renewed
 * secret counts. Undefined: none are configured.
 * @throws ConfigError for a combination that cannot be used, or a file that cannot be read
 */
export function credentialsOf(
  values: {
    readonly 'auth.file': string | undefined;
    readonly 'auth.username': string | undefined;
    readonly 'auth.password-file': string | undefined;
  },
  urls: readonly string[],
): CredentialsFor | undefined {
  const { 'auth.file': file, 'auth.username': username, 'auth.password-file': passwordFile } = values;
  if (username !== undefined || passwordFile !== undefined) {
    if (username === undefined || passwordFile === undefined) {
      throw new ConfigError(['auth.username: a log-in needs both --auth-username and --auth-password-file']);
    }
    if (file !== undefined) {
      throw new ConfigError(['auth.file: give either it, or --auth-username with --auth-password-file']);
    }
    const hosts = new Set(urls.map((url) => new URL(plainUrl(url)).host));
    const password = () => passwordIn(passwordFile, 'auth.password-file');
    password();
    return (host) => (hosts.has(host) ? { username, password: password() } : undefined);
  }
  if (file === undefined) return undefined;
  const find = withAuthFiles([file], true);
  try {
    find('');
  } catch (error) {
    throw new ConfigError([`auth.file: ${(error as Error).message}`]);
  }
  return find;
}

/** The first line of a file. @throws ConfigError that begins with `key`, the option that named it */
export function passwordIn(file: string, key: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const reason = missing ? 'there is no such file' : (error as Error).message;
    throw new ConfigError([`${key}: cannot read ${file}: ${reason}`]);
  }
  const password = text.split(/\r?\n/, 1)[0] ?? '';
  if (password === '') throw new ConfigError([`${key}: the first line of ${file} is empty`]);
  return password;
}
