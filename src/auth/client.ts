/**
 * An HTTP client that answers challenges: Basic, and the docker token flow with a token for each
 * repository, fetched once however many requests wait for it and renewed before it ends. After the
 * first answer of a host it sends what that host wants unasked, so that a pull costs no extra trips.
 *
 * Credentials go to their own host and to the token service that it names, never from https to http.
 * A log-in that was refused is not repeated for a while: many agents with an old password must not
 * become a storm of failed log-ins.
 */
import { Readable } from 'node:stream';
import { z } from 'zod';
import type { HttpClient, HttpRequestOptions, HttpResponse, HttpStream } from '#http';
import type { Credentials, CredentialsFor } from './auth-file.ts';
import { formatBasic } from './basic.ts';
import { type Challenge, parseChallenges } from './challenge.ts';

interface Token {
  readonly header: string;
  readonly expiresAt: number;
}

const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_TOKENS = 10_000;
const TOKEN_DEADLINE_MS = 10_000;
const REFUSED_MS = 10_000;
/** The specification's value for a service that names none. */
const DEFAULT_EXPIRES_S = 60;
/** Of a token's life; the rest is for clocks, and for requests that are under way. */
const USABLE = 0.8;

const answer = z.object({
  token: z.string().min(1).optional(),
  access_token: z.string().min(1).optional(),
  expires_in: z.number().positive().optional(),
});

/** Wraps `http`, which it closes too. A request that has an Authorization of its own is let pass. */
export function withCredentials(
  http: HttpClient,
  options: {
    readonly credentialsFor: CredentialsFor;
    /** Told what the token service answered to a log-in for `host`: the caller sees only that host's 401. */
    readonly onRefusal?: (host: string, status: number) => void;
  },
): HttpClient {
  const { credentialsFor, onRefusal } = options;
  /** What a host asked for, on /v2 and beside it. */
  const wanted = new Map<string, Challenge>();
  const tokens = new Map<string, Token>();
  const fetching = new Map<string, Promise<Token | undefined>>();
  const refusedUntil = new Map<string, number>();

  const fetchToken = async (
    target: Target,
    challenge: Challenge,
    scope: string | undefined,
    given: Credentials | undefined,
  ): Promise<Token | undefined> => {
    const realm = URL.parse(challenge.parameters['realm'] ?? '');
    if (realm === null) return undefined;
    const service = challenge.parameters['service'];
    const query = new URLSearchParams({
      ...(service !== undefined && { service }),
      ...(scope !== undefined && { scope }),
      client_id: 'shoal',
    });
    const signal = AbortSignal.timeout(TOKEN_DEADLINE_MS);
    // A service on the same host is the same server.
    const address = realm.host === target.host ? target.address : undefined;
    let response: HttpResponse;
    if (given && 'identityToken' in given) {
      query.set('grant_type', 'refresh_token');
      query.set('refresh_token', given.identityToken);
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const body = query.toString();
      response = await http.request(realm.href, { method: 'POST', headers, body, signal, address });
    } else {
      // Several scopes are several parameters here, and one text with spaces in a challenge.
      query.delete('scope');
      for (const each of scope?.split(' ') ?? []) query.append('scope', each);
      for (const [name, value] of query) realm.searchParams.append(name, value);
      const headers = given ? { authorization: formatBasic(given.username, given.password) } : {};
      response = await http.request(realm.href, { headers, signal, address });
    }
    const body = await http.read(response, MAX_ANSWER_BYTES);
    if (response.status !== 200) {
      onRefusal?.(target.host, response.status);
      return undefined;
    }
    const { token, access_token: accessToken, expires_in: seconds = DEFAULT_EXPIRES_S } = readAnswer(body);
    const text = token ?? accessToken;
    if (text === undefined || /[^\x21-\x7e]/.test(text)) return undefined;
    return { header: `Bearer ${text}`, expiresAt: performance.now() + seconds * 1000 * USABLE };
  };

  /** A header that answers the challenge; undefined when we have none. `fresh`: what we had was refused. */
  const headerFor = async (
    target: Target,
    challenge: Challenge,
    scope: string | undefined,
    fresh: boolean,
  ): Promise<string | undefined> => {
    const now = performance.now();
    if ((refusedUntil.get(target.server) ?? 0) > now) return undefined;
    const insecure = target.secure && challenge.parameters['realm']?.startsWith('http:') === true;
    const given = insecure && challenge.scheme === 'bearer' ? undefined : credentialsFor(target.host);
    if (challenge.scheme === 'basic') {
      return given && 'username' in given ? formatBasic(given.username, given.password) : undefined;
    }
    const known = fresh ? undefined : tokens.get(target.key);
    if (known && known.expiresAt > now) return known.header;
    const flight = `${target.key} ${scope ?? ''}`;
    let token = fetching.get(flight);
    if (token === undefined) {
      token = fetchToken(target, challenge, scope, given).finally(() => fetching.delete(flight));
      fetching.set(flight, token);
    }
    const got = await token;
    if (got === undefined) {
      if (given) refusedUntil.set(target.server, performance.now() + REFUSED_MS);
      return undefined;
    }
    if (tokens.size >= MAX_TOKENS) tokens.clear();
    tokens.set(target.key, got);
    return got.header;
  };

  /** Sends by `ask`, and once more when the answer is a challenge that can be met. */
  async function authorized<R extends HttpStream>(
    url: string,
    init: HttpRequestOptions,
    ask: (url: string, init: HttpRequestOptions) => Promise<R>,
  ): Promise<R> {
    if (init.headers?.['authorization'] !== undefined) return ask(url, init);
    const send = (authorization: string | undefined): Promise<R> =>
      ask(url, authorization === undefined ? init : { ...init, headers: { ...init.headers, authorization } });
    const target = targetOf(url, init.method ?? 'GET', init.address);
    const before = wanted.get(target.area);
    const header = before && (await headerFor(target, before, target.scope, false));
    const response = await send(header);
    const asked = response.headers['www-authenticate'];
    if (response.status !== 401 || asked === undefined) return response;
    const challenge = choose(parseChallenges(asked));
    if (challenge === undefined) return response;
    if (wanted.size >= MAX_TOKENS) wanted.clear();
    wanted.set(target.area, challenge);
    const next = await headerFor(target, challenge, challenge.parameters['scope'] ?? target.scope, true);
    if (next === header) {
      if (next !== undefined) refusedUntil.set(target.server, performance.now() + REFUSED_MS);
      return response;
    }
    if (next === undefined || init.body instanceof Readable) return response;
    await http.read(response, MAX_ANSWER_BYTES).catch(() => undefined);
    return send(next);
  }

  return {
    request: (url, init = {}) => authorized(url, init, http.request),
    stream: (url, init = {}) => authorized(url, init, http.stream),
    prompt: (url, init = {}) => authorized(url, init, http.prompt),
    read: http.read,
    close: http.close,
  };
}

/** What a parser says of its input may quote it, and the input is a token. */
function readAnswer(body: Buffer): z.infer<typeof answer> {
  try {
    return answer.parse(JSON.parse(body.toString('utf8')));
  } catch {
    throw new Error('the token service answered with what is no token');
  }
}

interface Target {
  readonly host: string;
  /** What is dialled for it, when that was given. */
  readonly address: string | undefined;
  /** By scheme, host, port and address: each has tokens of its own. */
  readonly server: string;
  readonly secure: boolean;
  /** Whose challenge counts: the host's registry, or what is beside it. */
  readonly area: string;
  /** Whose token counts. */
  readonly key: string;
  readonly scope: string | undefined;
}

function targetOf(url: string, method: string, address: string | undefined): Target {
  const { origin, host, protocol, pathname, searchParams } = new URL(url);
  const secure = protocol === 'https:';
  const registry = pathname === '/v2' || pathname.startsWith('/v2/');
  const server = address === undefined ? origin : `${origin} ${address}`;
  const area = `${server} ${registry ? 'v2' : ''}`;
  const name = /^\/v2\/(.+?)\/(?:manifests|blobs|tags|referrers|_shoal|_oci)\//.exec(pathname)?.[1];
  if (name === undefined) return { host, address, server, secure, area, key: area, scope: undefined };
  const ns = searchParams.get('ns');
  const actions = method === 'GET' || method === 'HEAD' ? 'pull' : 'pull,push';
  const scope = `repository:${ns ? `${ns}/` : ''}${name}:${actions}`;
  return { host, address, server, secure, area, key: `${server} ${scope}`, scope };
}

/** A token where there is a choice: the password then travels once and not with each request. */
function choose(challenges: readonly Challenge[]): Challenge | undefined {
  const of = (scheme: string) => challenges.find((challenge) => challenge.scheme === scheme);
  return of('bearer') ?? of('basic');
}
