/**
 * HTTP to one upstream: log-in, redirects, rate limits, deadlines. Every wait is bounded, and an
 * upstream that could not be reached, or that said when to come back, is not asked before its time, so
 * that a dead or strict one costs agents one wait and not one a request.
 *
 * Failures are OciErrors: UNAVAILABLE (503, with Retry-After) for what passes, DENIED for a refusal of
 * the upstream. 429 is never passed on: containerd repeats that on the same host without delay.
 */
import { AuthFileError, type CredentialsFor, passwordIn, withAuthFiles, withCredentials } from '#auth';
import { ConfigError } from '#config';
import {
  createHttpClient,
  type HttpClient,
  type HttpRequestOptions,
  type HttpResponse,
  restAfterFailure,
} from '#http';
import { OciError } from '#oci';
import type { Logger } from '#telemetry';
import type { UpstreamConfig } from './config.ts';

export interface UpstreamRequest {
  readonly method?: 'GET' | 'HEAD';
  /** Of the upstream's repository, without its host. */
  readonly repository: string;
  /** Below the repository. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface UpstreamClient {
  readonly config: UpstreamConfig;
  /**
   * The answer, after log-in and redirects: 2xx, or a 4xx that says that it does not have this.
   * @throws OciError UNAVAILABLE, DENIED
   */
  request(request: UpstreamRequest): Promise<HttpResponse>;
  /** The whole of a small answer. Rejects past `maxBytes`. */
  read(response: HttpResponse, maxBytes: number): Promise<Buffer>;
  /** Lets go of an answer whose body nobody wants. */
  discard(response: HttpResponse): Promise<void>;
  /** Milliseconds until it may be asked again; 0: now. */
  waitMs(): number;
  status(): { readonly reachable: boolean | undefined; readonly retryAfterSeconds: number };
  close(): Promise<void>;
}

const MAX_REDIRECTS = 5;
/** When a limited upstream does not say how long. */
const LIMITED_MS = 30_000;
const MAX_LIMITED_MS = 3_600_000;
/** A token service that failed makes the 401 that follows no refusal. */
const UNWELL_MS = 1_000;
const MAX_ERROR_BYTES = 64 * 1024;

/** @throws ConfigError for files that cannot be used */
export async function createUpstreamClient(
  config: UpstreamConfig,
  options: { readonly onAnswer: (status: string) => void; readonly log: Logger },
): Promise<UpstreamClient> {
  const { name, url } = config;
  const { log } = options;
  const credentialsFor = credentialsOf(config);
  const plain = await createHttpClient({
    caFile: config.caFile,
    connectTimeoutMs: Math.min(5_000, config.timeoutMs),
    stallTimeoutMs: config.timeoutMs,
    proxies: true,
  }).catch((error: Error) => {
    throw new ConfigError([`upstream: ca or proxy of ${name}: ${error.message}`]);
  });
  let reachable: boolean | undefined;
  let limitedUntil = 0;
  let leftAloneUntil = 0;
  let unwellUntil = 0;

  /** Sees every answer, also those of the token service and of where blobs really lie. */
  const watched: HttpClient = {
    ...plain,
    async request(target, init) {
      let response: HttpResponse;
      try {
        response = await plain.request(target, init);
      } catch (error) {
        options.onAnswer('error');
        throw error;
      }
      options.onAnswer(String(response.status));
      const now = performance.now();
      const asked = response.headers['retry-after'];
      if (response.status === 429 || (response.status === 503 && asked !== undefined)) {
        limitedUntil = Math.max(limitedUntil, now + retryAfterMs(asked));
        log.warn({ upstream: name, retryAfter: asked, status: response.status }, 'the upstream limits us');
      }
      if (response.status >= 500 || response.status === 429) unwellUntil = now + UNWELL_MS;
      return response;
    },
  };
  const http = withCredentials(watched, { credentialsFor });

  const waitMs = (): number => Math.max(0, Math.max(limitedUntil, leftAloneUntil) - performance.now());

  const unavailable = (reason: string, cause?: unknown): OciError => {
    const seconds = Math.max(1, Math.ceil(waitMs() / 1000));
    return new OciError('UNAVAILABLE', `the upstream ${name} cannot be asked: ${reason}`, undefined, {
      headers: { 'retry-after': String(seconds) },
      cause,
    });
  };

  const discard = async (response: HttpResponse): Promise<void> => {
    response.body.on('error', () => undefined);
    await plain.read(response, MAX_ERROR_BYTES).catch(() => undefined);
  };

  async function follow(target: string, init: HttpRequestOptions): Promise<HttpResponse> {
    let at = new URL(target);
    for (let hop = 0; ; hop += 1) {
      // Credentials stay with the upstream: whatever host it sends us to gets none.
      const response = await (at.origin === url ? http : watched).request(at.href, init);
      const location = response.headers['location'];
      if (response.status < 301 || response.status > 308 || location === undefined) return response;
      if (response.status === 304) return response;
      await discard(response);
      const next = URL.parse(location, at.href);
      if (hop === MAX_REDIRECTS || next === null || !/^https?:$/.test(next.protocol)) {
        throw new Error('it redirects to nowhere');
      }
      if (at.protocol === 'https:' && next.protocol === 'http:') {
        throw new Error(`it redirects from https to http://${next.host}`);
      }
      at = next;
    }
  }

  return {
    config,
    async request({ method = 'GET', repository, path, headers, signal }) {
      if (waitMs() > 0) {
        throw unavailable(limitedUntil > performance.now() ? 'it limits requests' : 'it failed a moment ago');
      }
      const startedAt = performance.now();
      let response: HttpResponse;
      try {
        response = await follow(`${url}/v2/${repository}/${path}`, {
          method,
          headers: { ...headers, 'accept-encoding': 'identity' },
          signal,
        });
        reachable = true;
      } catch (error) {
        // Given up by us, and not because it took too long.
        if (signal.aborted && (signal.reason as Error).name !== 'TimeoutError') throw error;
        if (error instanceof ConfigError || error instanceof AuthFileError) {
          log.error({ upstream: name, err: error }, 'the credentials for an upstream cannot be read');
          throw unavailable('its credentials cannot be read at the origin');
        }
        const cost = performance.now() - startedAt;
        reachable = false;
        leftAloneUntil = performance.now() + restAfterFailure(cost);
        log.warn({ upstream: name, repository, path, err: error }, 'the upstream gave no usable answer');
        throw unavailable((error as Error).message, error);
      }
      const { status } = response;
      if (status < 300) return response;
      if (status >= 500 || status === 429 || status === 408) {
        await discard(response);
        throw unavailable(status === 429 ? 'it limits requests' : `it answered ${status}`);
      }
      if (status === 401 || status === 403) {
        await discard(response);
        if (unwellUntil > performance.now()) throw unavailable('its token service failed');
        throw refusal(config, repository, status);
      }
      return response;
    },
    read: plain.read,
    discard,
    waitMs,
    status: () => ({ reachable, retryAfterSeconds: Math.ceil(waitMs() / 1000) }),
    close: http.close,
  };
}

function refusal({ name, credentials }: UpstreamConfig, repository: string, status: number): OciError {
  const hint =
    credentials === undefined
      ? 'it does not exist, or the origin needs credentials for this upstream'
      : "it does not exist, or the origin's credentials for this upstream do not reach it";
  return new OciError('DENIED', `the upstream ${name} refuses ${repository} (${status}): ${hint}`);
}

/** RFC 9110, section 10.2.3: seconds, or a date. */
function retryAfterMs(header: string | undefined): number {
  const text = header?.trim() ?? '';
  const given = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(given) && given > 0 ? Math.min(given, MAX_LIMITED_MS) : LIMITED_MS;
}

/** docker writes Docker Hub under the name of its former API. */
const FORMER_NAMES: Readonly<Record<string, readonly string[]>> = { 'docker.io': ['index.docker.io'] };

function credentialsOf({ name, url, credentials }: UpstreamConfig): CredentialsFor {
  if (credentials === undefined) return () => undefined;
  const { host } = new URL(url);
  if ('username' in credentials) {
    const { username, passwordFile } = credentials;
    const read = () => passwordIn(passwordFile, `upstream: password-file of ${name}`);
    read();
    return (asked) => (asked === host ? { username, password: read() } : undefined);
  }
  const { authFile } = credentials;
  const find = withAuthFiles([authFile], true);
  const lookUp = () =>
    [name, host, ...(FORMER_NAMES[name] ?? [])].map(find).find((found) => found !== undefined);
  let known: ReturnType<typeof lookUp>;
  try {
    known = lookUp();
  } catch (error) {
    throw new ConfigError([`upstream: auth-file of ${name}: ${(error as Error).message}`]);
  }
  if (known === undefined) {
    throw new ConfigError([`upstream: auth-file of ${name}: ${authFile} knows neither ${name} nor ${host}`]);
  }
  return (asked) => (asked === host ? lookUp() : undefined);
}
