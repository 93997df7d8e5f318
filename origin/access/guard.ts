/**
 * Decides each request. On /v2: 401 with a challenge where a log-in, or another token, may help, and
 * 403 where the user has no right. A repository's existence plays no part, so nothing is learnt of it.
 *
 * Never 429 on /v2: containerd repeats that at once, on the same host. Too many failed log-ins are
 * answered there as what they are, wrong ones.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { formatChallenge, formatScope, type Scope } from '#auth';
import { ProblemError } from '#http';
import { type DistributionPath, OciError } from '#oci';
import type { Identity, Refusal } from './identity.ts';
import type { OriginAction, Policy, RepositoryAction } from './rules.ts';
import { SERVICE } from './tokens.ts';

/** What the request at hand may do. The catalogue lists what may be pulled. */
export type May = (action: RepositoryAction, repository: string) => boolean;

export interface RegistryRequest {
  readonly request: FastifyRequest;
  readonly path: DistributionPath;
  readonly query: URLSearchParams;
  /** The repositories that a pull may be answered from. */
  readonly names: readonly string[];
}

/** Everybody may do everything. */
export const MAY_ALL: May = () => true;

/** @throws OciError UNAUTHORIZED, DENIED, UNAVAILABLE */
export function judge(
  call: RegistryRequest,
  identity: Identity | Refusal,
  policy: Policy,
  challenge: Challenger,
): May {
  const { request, path } = call;
  const needed = neededScopes(call);
  if ('reason' in identity) throw unauthorised(identity, challenge, needed);
  const { subject } = identity;
  const grants = identity.kind === 'token' ? identity.grants : undefined;
  const granted = (type: string, name: string, action: string): boolean =>
    grants === undefined ||
    grants.some(
      (grant) =>
        grant.type === type &&
        grant.name === name &&
        (grant.actions.includes(action) || grant.actions.includes('*')),
    );
  const may: May = (action, repository) =>
    policy.permits(subject, action, repository) &&
    (granted('repository', repository, action) ||
      // Whoever may push may also read what is pushed.
      (action === 'pull' && granted('repository', repository, 'push')) ||
      // Anonymous needs no token for what anonymous may.
      (action === 'pull' && policy.permits(undefined, 'pull', repository)));

  if (path.kind === 'base' || path.kind === 'extensions') {
    if (identity.kind === 'none') throw unauthorised(undefined, challenge, needed);
    return may;
  }
  if (path.kind === 'catalog') {
    // A token for the catalogue names no repositories: its user's rights say what is listed.
    if (policy.permits(subject, 'catalog') && granted('registry', 'catalog', '*')) {
      return (action, repository) => action === 'pull' && policy.permits(subject, 'pull', repository);
    }
    throw policy.permits(subject, 'catalog') || subject === undefined
      ? unauthorised(undefined, challenge, needed, grants)
      : denied('you may not list the repositories');
  }
  const action = actionOf(path, request.method);
  const names = action === 'pull' ? call.names : [path.name];
  if (names.some((name) => may(action, name))) return may;
  const hasRight = names.some((name) => policy.permits(subject, action, name));
  throw hasRight || subject === undefined
    ? unauthorised(undefined, challenge, needed, grants)
    : denied(`you may not ${action} ${path.name}`);
}

/** The header for what is needed. */
export type Challenger = (scope: string | undefined, error: string | undefined) => string;

function unauthorised(
  refusal: Refusal | undefined,
  challenge: Challenger,
  needed: readonly Scope[],
  grants?: readonly Scope[],
): OciError {
  if (refusal?.reason === 'busy') {
    return new OciError('UNAVAILABLE', 'too many log-ins at once; try again', undefined, {
      headers: { 'retry-after': '1' },
    });
  }
  const error =
    refusal?.reason === 'invalid-token'
      ? 'invalid_token'
      : grants && !refusal
        ? 'insufficient_scope'
        : undefined;
  const message =
    refusal?.reason === 'limited'
      ? `too many failed log-ins; try again in ${refusal.retryAfterSeconds} s`
      : refusal?.reason === 'wrong'
        ? 'the user name or the password is wrong'
        : error === 'invalid_token'
          ? 'the token is not valid: it is expired, revoked or not of this registry'
          : undefined;
  const scope = needed.length === 0 ? undefined : needed.map(formatScope).join(' ');
  return new OciError('UNAUTHORIZED', message, undefined, {
    headers: { 'www-authenticate': challenge(scope, error) },
  });
}

function denied(message: string): OciError {
  return new OciError('DENIED', message);
}

/** A read is of the first name only: the token service adds what it stands for. */
function neededScopes({ request, path, query, names }: RegistryRequest): Scope[] {
  if (path.kind === 'base' || path.kind === 'extensions') return [];
  if (path.kind === 'catalog') return [{ type: 'registry', name: 'catalog', actions: ['*'] }];
  const action = actionOf(path, request.method);
  const name = action === 'pull' ? (names[0] ?? path.name) : path.name;
  const actions = action === 'push' ? ['pull', 'push'] : [action];
  const from = path.kind === 'uploads' && query.get('mount') !== null ? query.get('from') : null;
  const source = from !== null && /^[a-z0-9._/-]{1,255}$/.test(from) && from !== name ? from : undefined;
  return [
    { type: 'repository', name, actions },
    ...(source === undefined ? [] : [{ type: 'repository', name: source, actions: ['pull'] }]),
  ];
}

function actionOf(path: DistributionPath, method: string): RepositoryAction {
  if (path.kind === 'uploads' || path.kind === 'upload') return 'push';
  if (method === 'GET' || method === 'HEAD') return 'pull';
  return method === 'DELETE' ? 'delete' : 'push';
}

/** Builds challenges for /v2. `realm`: the URL of the token service. */
export function challenger(kind: 'token' | 'basic', realm: string): Challenger {
  return (scope, error) =>
    kind === 'basic'
      ? formatChallenge('Basic', { realm: SERVICE })
      : formatChallenge('Bearer', {
          realm,
          service: SERVICE,
          ...(scope !== undefined && { scope }),
          ...(error !== undefined && { error }),
        });
}

/** What a route beside /v2 needs; undefined: nothing. Whatever is not listed is management. */
export function actionBeside(route: string | undefined): OriginAction | undefined {
  if (route === undefined || OPEN.has(route) || /^\/v2(?:\/|$)/.test(route)) return undefined;
  if (route === '/metrics') return 'metrics';
  return JOINING.test(route) ? 'join' : 'manage';
}

/** /announce and /scrape ask for passkeys; a node that joins, or asks as a member, shows proofs and is no user. */
const OPEN: ReadonlySet<string> = new Set([
  '/healthz',
  '/readyz',
  '/announce',
  '/scrape',
  '/api/v1/openapi.json',
  '/api/v1/cluster',
  '/api/v1/cluster/join',
  '/api/v1/cluster/renew',
  '/api/v1/cluster/revocations',
]);
const JOINING = /^\/api\/v1\/(?:agents|torrents)\/:/;

/**
 * Lets a request beside /v2 through, or throws. Only Basic counts there: a token was given for
 * repositories.
 * @throws ProblemError 401, 403, 429, 503
 */
export function judgeBeside(
  action: OriginAction,
  identity: Identity | Refusal,
  policy: Policy,
  reply: FastifyReply,
): void {
  const refusal = 'reason' in identity ? identity : undefined;
  if (refusal?.retryAfterSeconds !== undefined) {
    reply.header('retry-after', refusal.retryAfterSeconds);
    throw refusal.reason === 'busy'
      ? new ProblemError(503, 'Service Unavailable', 'too many log-ins at once; try again')
      : new ProblemError(
          429,
          'Too Many Requests',
          `too many failed log-ins; try again in ${refusal.retryAfterSeconds} s`,
        );
  }
  if (!('reason' in identity)) {
    if (policy.permits(identity.kind === 'basic' ? identity.subject : undefined, action)) return;
    if (identity.kind === 'basic') {
      throw new ProblemError(403, 'Forbidden', `this needs the right '${action}'`);
    }
  }
  reply.header('www-authenticate', formatChallenge('Basic', { realm: SERVICE }));
  throw new ProblemError(
    401,
    'Unauthorized',
    refusal?.reason === 'wrong' ? 'the user name or the password is wrong' : 'this needs a log-in (Basic)',
  );
}
