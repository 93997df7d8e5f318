/** Asking the management API of a running program. */
import { optional, path, url, withDefault } from '#config';
import type { HttpClient } from '#http';
import { CommandError } from './errors.ts';
import { type Login, loginOptions } from './login.ts';

const MAX_BYTES = 16 * 1024 * 1024;

export const originUrlOptions = {
  url: withDefault(url, 'http://127.0.0.1:5000', 'URL of the origin'),
  'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
  ...loginOptions,
} as const;

/** The JSON that a management request was answered with. @throws CommandError for any other answer */
export async function askManagement<T>(
  client: HttpClient,
  login: Login,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  where: string,
  signal: AbortSignal,
  program = 'an origin',
  body?: string,
): Promise<T> {
  const content = body !== undefined && { body, headers: { 'content-type': 'application/json' } };
  const response = await client.request(where, { method, signal, ...content });
  const text = (await client.read(response, MAX_BYTES)).toString('utf8');
  // What this origin does not have, and not what another program would not have.
  if (response.status === 404 && /^there is no /.test(detail(text))) throw new CommandError(detail(text));
  if (response.status === 404) throw new CommandError(`${where} answered 404: is this ${program}?`);
  if (response.status >= 300) {
    const advice = login.advice(response.status, where);
    const reason = [detail(text), advice].filter((part) => part !== '').join('; ');
    throw new CommandError(`${where} answered ${response.status}: ${reason}`);
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
