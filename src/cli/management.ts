/** Asking the management API of a running program. */
import { optional, path, url, withDefault } from '#config';
import type { HttpClient } from '#http';
import { CommandError, Refusal } from './errors.ts';
import { type Login, loginOf, loginOptions } from './login.ts';

const MAX_BYTES = 16 * 1024 * 1024;

export const originUrlOptions = {
  url: withDefault(url, 'http://127.0.0.1:5000', 'URL of the origin'),
  'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
  ...loginOptions,
} as const;

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** Asks for `/api/v1/<path>`; resolves with the JSON of the answer. @throws CommandError for an answer that is no success */
export type Asking = <T>(method: Method, path: string, body?: object) => Promise<T>;

/** Runs `work` with a way to ask the program at `url`, logged in as the command line says. */
export async function withManagement<R>(
  options: {
    readonly url: string;
    readonly values: {
      readonly 'ca.file': string | undefined;
      readonly username?: string | undefined;
      readonly 'auth.file'?: string | undefined;
    };
    readonly has: (name: string) => boolean;
    /** For each answer. */
    readonly deadlineMs: number;
    /** What ought to be there, for who asks another program by mistake. */
    readonly program?: string;
  },
  work: (ask: Asking, login: Login) => Promise<R>,
): Promise<R> {
  const { url: base, values, has, deadlineMs, program = 'an origin' } = options;
  const { 'ca.file': caFile, username, 'auth.file': authFile } = values;
  const login = await loginOf({ username, 'auth.file': authFile }, has, [base]);
  const client = await login.client({ caFile, stallTimeoutMs: deadlineMs });
  try {
    const ask: Asking = (method, where, body) =>
      answerOf(client, login, {
        ...{ method, where: `${base}/api/v1/${where}`, program, signal: AbortSignal.timeout(deadlineMs) },
        body: body && JSON.stringify(body),
      });
    return await work(ask, login);
  } finally {
    await client.close();
  }
}

async function answerOf<T>(
  client: HttpClient,
  login: Login,
  asked: {
    readonly method: Method;
    readonly where: string;
    readonly body: string | undefined;
    readonly signal: AbortSignal;
    readonly program: string;
  },
): Promise<T> {
  const { method, where, body, signal, program } = asked;
  const content = body !== undefined && { body, headers: { 'content-type': 'application/json' } };
  const response = await client.request(where, { method, signal, ...content });
  const text = (await client.read(response, MAX_BYTES)).toString('utf8');
  // What this origin does not have, and not what another program would not have.
  if (response.status === 404 && /^there is no /.test(detail(text))) throw new CommandError(detail(text));
  if (response.status === 404) throw new CommandError(`${where} answered 404: is this ${program}?`);
  if (response.status >= 300) {
    const advice = login.advice(response.status, where);
    const reason = [detail(text), advice].filter((part) => part !== '').join('; ');
    throw new Refusal(response.status, `${where} answered ${response.status}: ${reason}`);
  }
  return JSON.parse(text) as T;
}

/** The reason in a problem (RFC 9457). */
function detail(text: string): string {
  try {
    const { detail: reason, title } = JSON.parse(text) as { detail?: string; title?: string };
    return reason ?? title ?? text.slice(0, 200);
  } catch {
    return text.slice(0, 200);
  }
}
