/**
 * HTTP to the origins, one after another (see origin-order.ts). Every wait has a deadline. Where there
 * are several, one that does not answer at once is asked whether it is there at all, and is given up
 * within a second when it is not, unless nobody else has an answer; slow work of one that is alive is
 * waited for. An origin that could
 * not be reached is left alone for twice as long as the attempt took, longer each time, so that a dead
 * one costs the clients of the mirror one wait and not one a request.
 *
 * Failures are OciErrors: the given code for a 404, UNAVAILABLE (503) when no origin answered.
 * 408 and 429 are never passed on: containerd repeats those on the same host without delay.
 */
import { z } from 'zod';
import { type Endpoint, type Endpoints, endpointClient } from '#endpoints';
import { type HttpClient, type HttpStream, restAfterFailure } from '#http';
import { OciError, type OciErrorCode } from '#oci';
import type { Logger } from '#telemetry';
import type { Client } from './client.ts';
import { type OriginOrder, orderFor } from './origin-order.ts';
import type { Repository } from './repository.ts';

export interface Ask {
  /** Asked with what this client sent, in place of the agent's own credentials. */
  readonly as?: Client | undefined;
  /** The id of the client's request; it goes upstream. */
  readonly requestId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface OriginState extends Endpoint {
  reachable: boolean | undefined;
  leftAloneUntil: number;
  /** It was given up because it gave no sign of life, which one that is only busy does not either. */
  silent: boolean;
  /** Attempts that failed since it last answered. */
  failures: number;
}

export interface OriginRequest {
  readonly method?: 'GET' | 'HEAD';
  /** Undefined: the base of the API. */
  readonly repository: Repository | undefined;
  /** Below the repository. */
  readonly path: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** `large`: its answer is worth a connection of its own. `prompt`: it is small, and a client waits for it. */
  readonly body?: 'large' | 'prompt';
  /** What a 404 means here. */
  readonly notFound: OciErrorCode;
  readonly ask: Ask;
  readonly signal?: AbortSignal | undefined;
}

export interface OriginsOptions {
  readonly origins: Endpoints;
  /** Default spread. */
  readonly order?: OriginOrder | undefined;
  /** Sends the agent's own credentials, when it has some. */
  readonly http: HttpClient;
  /** Sends none of its own: for what is asked in the name of a client. */
  readonly bare: HttpClient;
  /** A client whose rights may be used where the agent's own do not suffice. */
  readonly lender?: ((repository: Repository) => Client | undefined) | undefined;
  /** Whether the agent has credentials of its own. */
  readonly ownCredentials?: boolean | undefined;
  /** An origin refused what the agent itself asked. */
  readonly onRefused?: (() => void) | undefined;
  readonly log: Logger;
}

export interface Origins {
  /** Asks each origin until one gives an answer that `use` accepts. @throws OciError */
  ask<T>(request: OriginRequest, use: (response: HttpStream) => Promise<T>): Promise<T>;
  /** What is known of each origin, for status pages. */
  status(): readonly (Endpoint & { readonly reachable: boolean | undefined })[];
}

/** An answer that broke off is a matter of this answer, unless it held its client for this long. */
const SLOW_ANSWER_MS = 5_000;
/** An origin that is silent for so long is asked for a sign of life, for which it has as long again. */
const SILENT_MS = 450;
const MAX_REST_MS = 15_000;
const MAX_ERROR_BYTES = 64 * 1024;
const MAX_REASON = 500;
const envelope = z.object({ errors: z.array(z.object({ message: z.string() })) });
const MAX_CHALLENGE = 4_096;

export function createOrigins(options: OriginsOptions): Origins {
  const { http, bare, log } = options;
  const origins = options.origins.each(
    (endpoint): OriginState => ({
      ...endpoint,
      reachable: undefined,
      leftAloneUntil: 0,
      silent: false,
      failures: 0,
    }),
    // What is under way with one that is gone goes on to its end.
    () => undefined,
  );

  /** `as` undefined: as the agent itself. */
  const sendAs = (
    origin: OriginState,
    request: OriginRequest,
    as: Client | undefined,
  ): Promise<HttpStream> => {
    const client = endpointClient(as === undefined ? http : bare, origin);
    const url = address(origin.url, request.repository, request.path, request.query);
    const init = {
      headers: {
        ...request.headers,
        ...(as?.authorization !== undefined && { authorization: as.authorization }),
      },
      ...(request.signal && { signal: request.signal }),
      ...(request.ask.requestId !== undefined && { requestId: request.ask.requestId }),
    };
    if (request.body === 'large') return client.stream(url, init);
    if (request.body === 'prompt') return client.prompt(url, init);
    return client.request(url, { ...init, method: request.method ?? 'GET' });
  };

  /**
   * What the agent asks for itself it asks with its own credentials, and where these do not suffice with
   * those of a client that was let in a moment ago: an agent needs no credentials to serve its clients.
   */
  async function send(origin: OriginState, request: OriginRequest): Promise<HttpStream> {
    if (request.ask.as !== undefined) return sendAs(origin, request, request.ask.as);
    const lender = request.repository && options.lender?.(request.repository);
    const [first, second] = options.ownCredentials ? [undefined, lender] : [lender, undefined];
    const response = await sendAs(origin, request, first);
    if (response.status !== 401 && response.status !== 403) return response;
    options.onRefused?.();
    if (first === second) return response;
    await discard(http, response);
    return sendAs(origin, request, second);
  }

  /** Rejects when it answers neither the request nor whether it is alive, and somebody else may be asked. */
  async function sendPromptly(origin: OriginState, request: OriginRequest): Promise<HttpStream> {
    if (origins.values().length === 1) return send(origin, request);
    const given = new AbortController();
    let answered = false;
    const giveUp = (error: unknown): void => {
      // The signal goes on to guard the body of the answer.
      if (!answered) given.abort(new SilentError('it gives no sign of life', { cause: error }));
    };
    const silent = setTimeout(
      () => signOfLife(endpointClient(bare, origin), origin.url).catch(giveUp),
      SILENT_MS,
    );
    const signal = request.signal ? AbortSignal.any([request.signal, given.signal]) : given.signal;
    try {
      return await send(origin, { ...request, signal });
    } catch (error) {
      throw given.signal.aborted ? given.signal.reason : error;
    } finally {
      answered = true;
      clearTimeout(silent);
    }
  }

  async function ask<T>(request: OriginRequest, use: (response: HttpStream) => Promise<T>): Promise<T> {
    let refusal: OciError | undefined;
    /** Why there is no answer from an origin. */
    const unavailable = new Map<OriginState, string>();
    let retryAfter: string | undefined;
    const attempts = orderFor(origins.values(), request.path, options.order ?? 'spread').map((origin) => ({
      origin,
      patient: false,
    }));
    // Grows while it is gone through: where nobody else answered, one that was only silent is waited for.
    for (const { origin, patient } of attempts) {
      const startedAt = performance.now();
      if (!patient && startedAt < origin.leftAloneUntil) {
        unavailable.set(origin, `${origin.name} was unreachable a moment ago`);
        if (origin.silent) attempts.push({ origin, patient: true });
        continue;
      }
      let answered = false;
      try {
        const response = await (patient ? send(origin, request) : sendPromptly(origin, request));
        answered = true;
        origin.reachable = true;
        origin.silent = false;
        origin.failures = 0;
        origin.leftAloneUntil = 0;
        unavailable.delete(origin);
        if (response.status < 300 || response.status === 304) return await use(response);
        const words = await reasonIn(http, response);
        if (isRefusal(response.status)) {
          const next = toRefusal(response, request.notFound, request.ask.as !== undefined, words);
          // A log-in may help, whatever the other origins say.
          if (refusal?.code !== 'UNAUTHORIZED' && (!refusal || next.code === 'UNAUTHORIZED')) refusal = next;
        } else {
          const reason = words === undefined ? '' : `: ${words}`;
          unavailable.set(origin, `${origin.name} answered ${response.status}${reason}`);
          retryAfter = secondsIn(response.headers['retry-after']);
        }
      } catch (error) {
        request.ask.signal?.throwIfAborted();
        unavailable.set(origin, `${origin.name}: ${(error as Error).message}`);
        origin.silent = error instanceof SilentError;
        if (origin.silent) attempts.push({ origin, patient: true });
        leaveAlone(origin, answered, performance.now() - startedAt);
        if (!answered) options.origins.doubt(origin);
        log.warn({ origin: origin.name, path: request.path, err: error }, 'origin gave no usable answer');
      }
    }
    if (refusal?.headers['www-authenticate'] !== undefined) throw refusal;
    // Another origin may still have it: only when all have answered is "unknown" the truth.
    if (unavailable.size > 0 || !refusal) {
      const message = `no origin can be asked: ${[...unavailable.values()].at(-1) ?? options.origins.problem() ?? 'none is configured'}`;
      const headers: Record<string, string> = retryAfter === undefined ? {} : { 'retry-after': retryAfter };
      throw new OciError('UNAVAILABLE', message, undefined, { headers });
    }
    throw refusal;
  }

  return {
    ask,
    status: () => origins.values(),
  };
}

function leaveAlone(origin: OriginState, answered: boolean, costMs: number): void {
  origin.reachable = answered;
  if (answered && costMs < SLOW_ANSWER_MS) return;
  const restMs = restAfterFailure(costMs) * 2 ** Math.min(origin.failures, 10);
  origin.leftAloneUntil = performance.now() + Math.min(restMs, MAX_REST_MS);
  origin.failures += 1;
}

class SilentError extends Error {}

/** @throws Error when it does not answer soon */
async function signOfLife(http: HttpClient, url: string): Promise<void> {
  const response = await http.request(`${url}/healthz`, { signal: AbortSignal.timeout(SILENT_MS) });
  await discard(http, response);
}

function address(origin: string, repository: Repository | undefined, path: string, query = ''): string {
  if (repository === undefined) return `${origin}/v2/`;
  const parameters = new URLSearchParams(query);
  parameters.delete('ns');
  if (repository.namespace !== undefined) parameters.set('ns', repository.namespace);
  const text = parameters.toString();
  return `${origin}/v2/${repository.name}/${path}${text === '' ? '' : `?${text}`}`;
}

/** The origin's own decision, as opposed to a state that passes. */
function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}

/** `challenged`: who asked can log in; a challenge to the agent is no matter of its clients. */
function toRefusal(
  { status, headers }: HttpStream,
  notFound: OciErrorCode,
  challenged: boolean,
  words: string | undefined,
): OciError {
  if (status === 404) return new OciError(notFound);
  if (status === 401) {
    const challenge = headers['www-authenticate'] ?? '';
    const plain = challenge.length <= MAX_CHALLENGE && /^[\x20-\x7e]+$/.test(challenge);
    return new OciError('UNAUTHORIZED', undefined, undefined, {
      headers: challenged && plain ? { 'www-authenticate': challenge } : {},
    });
  }
  if (status === 403) return new OciError('DENIED', words);
  return new OciError('UNKNOWN', `the origin refused with ${status}`, undefined, { status });
}

/** Why the origin, or an upstream behind it, does not give it: the first message of an error envelope. */
async function reasonIn(http: HttpClient, response: HttpStream): Promise<string | undefined> {
  try {
    const { errors } = envelope.parse(JSON.parse((await http.read(response, MAX_ERROR_BYTES)).toString()));
    const text = errors[0]?.message.replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
    return text === '' ? undefined : text?.slice(0, MAX_REASON);
  } catch {
    return undefined;
  }
}

/** Retry-After in seconds, as it is passed on. */
function secondsIn(header: string | undefined): string | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header) ? header : undefined;
}

/** Reads a short body, so that its connection can be used again. */
export async function discard(http: HttpClient, response: HttpStream): Promise<void> {
  await http.read(response, MAX_ERROR_BYTES).catch(() => undefined);
}
