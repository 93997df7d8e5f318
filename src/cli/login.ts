/**
 * The log-in of a command at the agents and origins that it asks: `--username` with `--password-stdin`,
 * or else the files in which docker and podman keep the log-ins of this user. No flag and no variable
 * holds a secret, so that `ps`, shell histories and unit files hold none.
 */
import { StringDecoder } from 'node:string_decoder';
import {
  type Credentials,
  type CredentialsFor,
  credentialsOf,
  userAuthFiles,
  withAuthFiles,
  withCredentials,
} from '#auth';
import { optional, path, string } from '#config';
import { createHttpClient, type HttpClient } from '#http';
import { UsageError } from './errors.ts';

export const loginOptions = {
  // Checked by hand: the error of a kind would show `ann:secret`.
  username: optional(string('NAME', 'a user name'), 'user to log in as; needs --password-stdin'),
  'auth.file': optional(
    path,
    'credentials by host, as docker login or podman login keep them; by default where these keep those of this user',
  ),
} as const;

export const loginSwitches = {
  'password-stdin': 'read the password of --username from the standard input',
} as const;

export interface Login {
  /** An HTTP client that logs in where it is asked to. */
  client(options: Parameters<typeof createHttpClient>[0]): Promise<HttpClient>;
  /** What a user can do about an answer of this status; empty when a log-in changes nothing. */
  advice(status: number, url: string): string;
  /** Whether credentials for this URL's server are known. */
  knows(url: string): boolean;
}

/** A password of sense is shorter; a file that was piped by mistake is longer. */
const MAX_PASSWORD_BYTES = 4_096;

/**
 * Reads what the command line says, and the password. `urls`: the servers that --username is for.
 * @throws UsageError, ConfigError
 */
export async function loginOf(
  values: { readonly username: string | undefined; readonly 'auth.file': string | undefined },
  has: (name: string) => boolean,
  urls: readonly string[],
): Promise<Login> {
  const { username, 'auth.file': file } = values;
  const fromStdin = has('password-stdin');
  if (username === undefined && !fromStdin) {
    const credentialsFor =
      file === undefined
        ? withAuthFiles(userAuthFiles(process.env), false)
        : credentialsOf(
            { 'auth.file': file, 'auth.username': undefined, 'auth.password-file': undefined },
            [],
          );
    return loginWith(credentialsFor ?? (() => undefined), file ?? 'the log-in files of this user');
  }
  if (username === undefined) throw new UsageError('--password-stdin needs the user: --username NAME');
  if (/[:\s]/.test(username) || username.length > 255) {
    throw new UsageError('--username takes a name without a colon; the password is read by --password-stdin');
  }
  if (!fromStdin) {
    throw new UsageError('--username needs --password-stdin, with the password on the standard input');
  }
  if (file !== undefined) throw new UsageError('give either --auth-file, or --username and --password-stdin');
  const password = await readPassword(process.stdin);
  const hosts = new Set(urls.map((url) => new URL(url).host));
  return loginWith(
    (host) => (hosts.has(host) ? { username, password } : undefined),
    `--username ${username}`,
  );
}

function loginWith(credentialsFor: CredentialsFor, source: string): Login {
  const of = (url: string): Credentials | undefined => credentialsFor(new URL(url).host);
  const refusals = new Map<string, number>();
  const onRefusal = (host: string, status: number): void => void refusals.set(host, status);
  return {
    client: async (options) =>
      withCredentials(await createHttpClient(options), { credentialsFor, onRefusal }),
    knows: (url) => of(url) !== undefined,
    advice(status, url) {
      const { host } = new URL(url);
      if (status === 403) {
        const known = of(url);
        const user = known && 'username' in known ? `'${known.username}'` : 'this user';
        return `${user} has no right to it: the access.rules of ${host} say who may`;
      }
      if (status !== 401) return '';
      const refusal = refusals.get(host) ?? 401;
      if (refusal === 429) return `too many failed log-ins at ${host}: wait a minute`;
      if (refusal >= 500) return `the token service of ${host} answered ${refusal}: try again`;
      return of(url) === undefined
        ? `${host} wants a log-in and none is known: podman login ${host}, docker login ${host}, or --username NAME --password-stdin (credential helpers are not asked)`
        : `${host} did not take the user name and password from ${source}`;
    },
  };
}

/** All of the standard input, without the line's end. @throws UsageError */
async function readPassword(input: AsyncIterable<Buffer> & { readonly isTTY?: boolean }): Promise<string> {
  if (input.isTTY) {
    throw new UsageError(
      '--password-stdin: a terminal would show the password; pipe it, or give it from a file',
    );
  }
  const decoder = new StringDecoder('utf8');
  let text = '';
  for await (const chunk of input) {
    text += decoder.write(chunk);
    if (text.length > MAX_PASSWORD_BYTES) break;
  }
  const password = (text + decoder.end()).replace(/\r?\n$/, '');
  if (password === '') throw new UsageError('--password-stdin: the standard input holds no password');
  if (password.length > MAX_PASSWORD_BYTES || /[\0\r\n]/.test(password)) {
    throw new UsageError('--password-stdin: the standard input is no password: it must be one line');
  }
  return password;
}
