/**
 * The token service (docker's "Token Authentication Specification" and its OAuth2 form), at the path
 * that Quay has: GET /v2/auth with Basic or nothing, POST /v2/auth with a form. Scopes that the user
 * has no right to are left out of the token, as the specification wants; the registry then refuses.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { formatChallenge, parseBasic, parseScope, type Scope } from '#auth';
import { readBody } from '#http';
import { logIn, type Refusal, stillValid } from './identity.ts';
import type { Logins } from './logins.ts';
import type { Policy, RepositoryAction, Subject } from './rules.ts';
import type { Tokens } from './tokens.ts';

export const TOKEN_PATH = '/v2/auth';
const MAX_FORM_BYTES = 16 * 1024;
const MAX_SCOPES = 32;
/** Of names in one token, so that it stays one that a header can carry; what is beyond is left out. */
const MAX_NAME_CHARACTERS = 6_144;
const REPOSITORY_ACTIONS: readonly RepositoryAction[] = ['pull', 'push', 'delete'];

export interface TokenParts {
  readonly logins: Logins;
  readonly tokens: Tokens;
  /** Undefined: everything is open; the service then gives tokens to anybody. */
  readonly policy: () => Policy | undefined;
  readonly lifetimeMs: () => number;
  /** The repositories that a pull of this name may be answered from. */
  readonly aliases: (name: string) => readonly string[];
}

export function registerTokenEndpoint(app: FastifyInstance, parts: TokenParts): void {
  const { logins, tokens } = parts;

  app.get(TOKEN_PATH, async (request, reply) => {
    const query = new URL(request.url, 'http://origin').searchParams;
    const header = request.headers.authorization;
    if (header === undefined) return answer(reply, undefined, query.getAll('scope'), false);
    const basic = parseBasic(header);
    if (basic === undefined) return refuse(reply, { reason: 'wrong' });
    const refusal = await logIn(logins, basic.username, basic.password, request.ip);
    if (refusal) return refuse(reply, refusal);
    const offline = query.get('offline_token') === 'true';
    return answer(reply, basic.username, query.getAll('scope'), offline);
  });

  app.post(TOKEN_PATH, async (request, reply) => {
    const form = await readForm(request);
    if (form === undefined) return oauthError(reply, 400, 'invalid_request', 'the form is too large');
    const scopes = form.getAll('scope');
    const offline = form.get('access_type') === 'offline';
    if (form.get('grant_type') === 'password') {
      const [username, password] = [form.get('username'), form.get('password')];
      if (username === null || password === null) {
        return oauthError(reply, 400, 'invalid_request', 'username and password are needed');
      }
      const refusal = await logIn(logins, username, password, request.ip);
      return refusal ? refuse(reply, refusal) : answer(reply, username, scopes, offline);
    }
    if (form.get('grant_type') === 'refresh_token') {
      const claims = await tokens.verify(form.get('refresh_token') ?? '', 'refresh');
      if (claims?.subject === undefined || !stillValid(claims, logins)) {
        return oauthError(reply, 401, 'invalid_grant', 'the refresh token is not valid: log in again');
      }
      return answer(reply, claims.subject, scopes, offline);
    }
    return oauthError(reply, 400, 'unsupported_grant_type', 'use password or refresh_token');
  });

  async function answer(
    reply: FastifyReply,
    subject: Subject,
    scopes: readonly string[],
    offline: boolean,
  ): Promise<FastifyReply> {
    const version = subject === undefined ? undefined : logins.versionOf(subject);
    const seconds = Math.max(1, Math.floor(parts.lifetimeMs() / 1000));
    const grants = grantsOf(subject, scopes);
    const issuedAt = new Date();
    const token = await tokens.issue({ subject, version, grants }, seconds);
    return reply.header('cache-control', 'no-store').send({
      token,
      access_token: token,
      expires_in: seconds,
      issued_at: issuedAt.toISOString(),
      scope: grants.map(({ type, name, actions }) => `${type}:${name}:${actions.join(',')}`).join(' '),
      ...(offline &&
        subject !== undefined && { refresh_token: await tokens.issueRefresh({ subject, version }) }),
    });
  }

  /** Scopes are parameters of their own (docker) or one text with spaces (RFC 6749). */
  function grantsOf(subject: Subject, texts: readonly string[]): Scope[] {
    const wanted = new Set(texts.flatMap((text) => text.split(' ')).filter((text) => text !== ''));
    let characters = 0;
    return [...wanted]
      .slice(0, MAX_SCOPES)
      .flatMap((text) => grantsOfOne(subject, parseScope(text)))
      .filter(({ name }) => {
        characters += name.length;
        return characters <= MAX_NAME_CHARACTERS;
      });
  }

  function grantsOfOne(subject: Subject, scope: Scope | undefined): Scope[] {
    const policy = parts.policy();
    if (scope?.type === 'registry' && scope.name === 'catalog') {
      const may = policy === undefined || policy.permits(subject, 'catalog');
      return may ? [{ type: 'registry', name: 'catalog', actions: ['*'] }] : [];
    }
    if (scope?.type !== 'repository') return [];
    // What is no repository's name stands for none.
    const names = parts.aliases(scope.name);
    const all = scope.actions.includes('*');
    const asked = REPOSITORY_ACTIONS.filter((action) => all || scope.actions.includes(action));
    return names.flatMap((name): Scope[] => {
      const wanted = name === scope.name ? asked : asked.filter((action) => action === 'pull');
      const actions = wanted.filter(
        (action) => policy === undefined || policy.permits(subject, action, name),
      );
      return actions.length > 0 ? [{ type: 'repository', name, actions }] : [];
    });
  }
}

async function readForm(request: FastifyRequest): Promise<URLSearchParams | undefined> {
  const body = await readBody(request.raw, MAX_FORM_BYTES);
  return body && new URLSearchParams(body.toString('utf8'));
}

function refuse(reply: FastifyReply, { reason, retryAfterSeconds }: Refusal): FastifyReply {
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds);
  if (reason === 'busy') return oauthError(reply, 503, 'temporarily_unavailable', 'too many log-ins at once');
  if (reason === 'limited') {
    return oauthError(
      reply,
      429,
      'slow_down',
      `too many failed log-ins; try again in ${retryAfterSeconds} s`,
    );
  }
  reply.header('www-authenticate', formatChallenge('Basic', { realm: 'shoal' }));
  return oauthError(reply, 401, 'invalid_grant', 'the user name or the password is wrong');
}

/** RFC 6749, section 5.2, and the envelope of the distribution API: clients read one or the other. */
function oauthError(reply: FastifyReply, status: number, error: string, message: string): FastifyReply {
  const code = status === 401 ? 'UNAUTHORIZED' : status === 429 ? 'TOOMANYREQUESTS' : 'DENIED';
  return reply
    .status(status)
    .header('cache-control', 'no-store')
    .send({ error, error_description: message, errors: [{ code, message }] });
}
