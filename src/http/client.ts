/**
 * HTTP to other members: keep-alive connections, a custom CA beside the system's, and a deadline on
 * every wait, so that a half-open peer never holds a request for ever. Redirects are not followed.
 */
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { rootCertificates } from 'node:tls';
import { Agent, type buildConnector, EnvHttpProxyAgent, request } from 'undici';
import { type AddressedAgents, createAddressedAgents } from './addressed.ts';
import { createKeptConnections } from './kept.ts';
import { type HttpStream, openStream } from './stream.ts';

const headersOf = ({ headers, requestId }: HttpRequestOptions): Record<string, string> => ({
  ...headers,
  ...(requestId !== undefined && { 'x-request-id': requestId }),
});

/** Header values as one text each. */
function joined(
  received: Readonly<Record<string, string | readonly string[] | undefined>>,
): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(received)) {
    if (value !== undefined) headers[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return headers;
}

/** Never through a proxy: it would look for these on its own machine. */
const LOOPBACK = ['localhost', '127.0.0.1', '::1'];

export interface HttpResponse {
  readonly status: number;
  /** Lower-case names; a repeated header is joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
  /** Must be read to its end or destroyed. */
  readonly body: Readable;
}

export interface HttpRequestOptions {
  readonly method?: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  readonly headers?: Readonly<Record<string, string>>;
  /** A function makes the body anew when the request must be sent twice. */
  readonly body?: string | Uint8Array | Readable | (() => Readable);
  readonly signal?: AbortSignal;
  /** Dialled in place of what the name in the URL resolves to; Host header and certificate stay the name's. Not through a proxy. */
  readonly address?: string | undefined;
  /** Passed on as X-Request-Id, so that one id follows a pull through every hop. */
  readonly requestId?: string;
  /** The longest wait for an answer that the server holds back on purpose; by default the client's. */
  readonly stallTimeoutMs?: number;
}

export interface HttpClient {
  /** Rejects when no answer comes in time; any status is an answer. */
  request(url: string, options?: HttpRequestOptions): Promise<HttpResponse>;
  /** GET of a large body, over a connection of its own. */
  stream(
    url: string,
    options?: Pick<HttpRequestOptions, 'headers' | 'signal' | 'requestId' | 'address'>,
  ): Promise<HttpStream>;
  /** GET of a small body that somebody waits for; its connection is kept. */
  prompt(
    url: string,
    options?: Pick<HttpRequestOptions, 'headers' | 'signal' | 'requestId' | 'address'>,
  ): Promise<HttpStream>;
  /** The whole body of a small answer. Rejects past `maxBytes`. */
  read(response: Pick<HttpStream, 'body'>, maxBytes: number): Promise<Buffer>;
  close(): Promise<void>;
}

export async function createHttpClient(options: {
  /** A PEM file of authorities that are trusted beside the system's. */
  readonly caFile?: string | undefined;
  readonly connectTimeoutMs?: number;
  /** The longest wait for response headers, and between two chunks of a body. */
  readonly stallTimeoutMs?: number;
  /** Goes through the proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name. By default never: members are near. */
  readonly proxies?: boolean;
}): Promise<HttpClient> {
  const stallMs = options.stallTimeoutMs ?? 30_000;
  const ca =
    options.caFile === undefined ? undefined : [...rootCertificates, await readFile(options.caFile, 'utf8')];
  const connectTimeoutMs = options.connectTimeoutMs ?? 5_000;
  const connect = { timeout: connectTimeoutMs, ...(ca && { ca }) };
  const settings = { connect, headersTimeout: stallMs, bodyTimeout: stallMs, connections: 64 };
  const kept = createKeptConnections({ ca, connectTimeoutMs, stallMs });
  const agent = options.proxies ? throughProxies(settings) : new Agent(settings);
  const addressed: AddressedAgents = createAddressedAgents(settings);

  async function ask(url: string, init: HttpRequestOptions = {}): Promise<HttpResponse> {
    const response = await request(url, {
      dispatcher: init.address === undefined ? agent : addressed.at(init.address),
      method: init.method ?? 'GET',
      headers: headersOf(init),
      body: typeof init.body === 'function' ? init.body() : (init.body ?? null),
      signal: init.signal ?? null,
      ...(init.stallTimeoutMs !== undefined && { headersTimeout: init.stallTimeoutMs }),
    });
    // Its reader sees an error; a body that is given up before it is read must not end the process.
    response.body.on('error', () => undefined);
    return { status: response.statusCode, headers: joined(response.headers), body: response.body };
  }

  return {
    request: ask,
    async prompt(url, init = {}) {
      if (options.proxies || kept.isUnsuited(url, init.address)) return ask(url, init);
      try {
        return await kept.get(url, { headers: headersOf(init), signal: init.signal, address: init.address });
      } catch (error) {
        // A host whose framing is not plain was found out by this answer: the general client reads it.
        if (init.signal?.aborted || !kept.isUnsuited(url, init.address)) throw error;
        return ask(url, init);
      }
    },
    stream: (url, init = {}) =>
      openStream(url, {
        headers: headersOf(init),
        signal: init.signal,
        address: init.address,
        ca,
        connectTimeoutMs,
        stallMs,
      }),
    async read(response, maxBytes) {
      const chunks: Buffer[] = [];
      let length = 0;
      for await (const chunk of response.body) {
        length += chunk.length;
        if (length > maxBytes) {
          response.body.destroy();
          throw new RangeError(`the answer is larger than ${maxBytes} bytes`);
        }
        // A stream uses its chunk's memory again.
        chunks.push(Buffer.from(chunk));
      }
      return Buffer.concat(chunks, length);
    },
    async close() {
      kept.close();
      await Promise.all([agent.destroy(), addressed.destroy()]);
    },
  };
}

function throughProxies(
  settings: Agent.Options & { connect: buildConnector.BuildOptions },
): EnvHttpProxyAgent {
  const { no_proxy: lower, NO_PROXY: upper } = process.env;
  const given = lower ?? upper;
  const noProxy = given?.trim() === '*' ? '*' : [given, ...LOOPBACK].filter(Boolean).join(',');
  return new EnvHttpProxyAgent({ ...settings, requestTls: settings.connect, noProxy });
}

const MIN_REST_MS = 300;
const MAX_REST_MS = 10_000;

/**
 * Milliseconds for which a server that failed is left alone: twice as long as the attempt took, so that a dead
 * one costs its clients one wait and not one a request.
 */
export function restAfterFailure(costMs: number): number {
  return Math.min(MAX_REST_MS, Math.max(MIN_REST_MS, 2 * costMs));
}
