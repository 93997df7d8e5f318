/** An HTTP client that shows our membership with each request, and proves that it is ours. */
import { createHash, type KeyObject } from 'node:crypto';
import { Readable } from 'node:stream';
import type { HttpClient, HttpRequestOptions } from '#http';
import { REVOCATIONS_HEADER } from './guard.ts';
import { bodyHash, MEMBERSHIP_HEADER, NO_BODY, PROOF_HEADER, signProof } from './proof.ts';

/**
 * Wraps `http`, which it closes too. Without a membership requests go as they are. A body that is a stream, and
 * not a function that makes one, goes as it is too: it could not be read twice.
 */
export function withMembership(
  http: HttpClient,
  options: {
    readonly key: KeyObject;
    /** Our membership, while it counts. */
    readonly credential: () => string | undefined;
    /** Told which list of revocations a server has. */
    readonly onRevocations: (
      server: { readonly url: string; readonly address: string | undefined },
      version: string,
    ) => void;
    /** Milliseconds since the epoch. */
    readonly now: () => number;
  },
): HttpClient {
  const { key, credential, now, onRevocations } = options;

  const signed = async <T extends Pick<HttpRequestOptions, 'headers'>>(
    url: string,
    init: T,
    method: string,
    body: HttpRequestOptions['body'],
  ): Promise<T> => {
    const statement = credential();
    if (statement === undefined || body instanceof Readable) return init;
    const { host, pathname, search } = new URL(url);
    const request = { method, host, target: `${pathname}${search}`, statement };
    const proof = signProof(key, request, await hashOf(body), now());
    return { ...init, headers: { ...init.headers, [MEMBERSHIP_HEADER]: statement, [PROOF_HEADER]: proof } };
  };
  const heard = <T extends { readonly headers: Readonly<Record<string, string>> }>(
    url: string,
    address: string | undefined,
    answer: T,
  ): T => {
    const version = answer.headers[REVOCATIONS_HEADER];
    if (version !== undefined) onRevocations({ url, address }, version);
    return answer;
  };

  return {
    request: async (url, init = {}) =>
      heard(
        url,
        init.address,
        await http.request(url, await signed(url, init, init.method ?? 'GET', init.body)),
      ),
    stream: async (url, init = {}) =>
      heard(url, init.address, await http.stream(url, await signed(url, init, 'GET', undefined))),
    prompt: async (url, init = {}) =>
      heard(url, init.address, await http.prompt(url, await signed(url, init, 'GET', undefined))),
    read: http.read,
    close: http.close,
  };
}

async function hashOf(body: Exclude<HttpRequestOptions['body'], Readable>): Promise<string> {
  if (body === undefined) return NO_BODY;
  if (typeof body !== 'function') return bodyHash([body]);
  // It is made while it is sent, and once more here for its hash.
  const hash = createHash('sha256');
  for await (const part of body() as AsyncIterable<Uint8Array | string>) hash.update(part);
  return hash.digest('base64url');
}
