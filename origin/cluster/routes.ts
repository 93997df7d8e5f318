/**
 * `/api/v1/cluster`: joining and renewing, and what was revoked.
 *
 *     GET  /api/v1/cluster               {"id": …}
 *     POST /api/v1/cluster/join          {"token", "peerId", "role"} with two proofs: of the token's key and of the peer's
 *     POST /api/v1/cluster/renew         as a member
 *     GET  /api/v1/cluster/revocations   as a member
 *     POST /api/v1/cluster/revocations   {"statement"}, signed by the cluster's key
 *     GET  /api/v1/cluster/members       management
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import {
  bodyHash,
  createProofs,
  type Guard,
  JOIN_PATH,
  JOIN_PROOF_HEADER,
  type JoinClaims,
  memberKey,
  PROOF_HEADER,
  ProofError,
  RENEW_PATH,
  REVOCATIONS_PATH,
  StatementError,
  verifyJoinStatement,
} from '#cluster';
import { ProblemError, readBody } from '#http';
import type { Logger, Metrics } from '#telemetry';
import type { Authority } from './authority.ts';

const MAX_BODY_BYTES = 8_192;
const joining = z.strictObject({
  token: z.string().max(2_048),
  peerId: z.string().max(64),
  role: z.enum(['agent', 'tracker']),
});
const revoking = z.strictObject({ statement: z.string().max(2_048) });

export function registerCluster(
  app: FastifyInstance,
  parts: {
    readonly authority: Authority;
    readonly guard: Guard;
    readonly now: () => number;
    readonly log: Logger;
    readonly metrics: Metrics;
  },
): void {
  const { authority, guard, now, log, metrics } = parts;
  const { cluster } = authority;
  const proofs = createProofs(now);
  const issued = metrics.counter<'kind' | 'result'>({
    name: 'shoal_cluster_memberships_total',
    help: 'Memberships that were asked for, by how (join, renew) and whether they were given',
    labels: ['kind', 'result'],
  });
  metrics.gauge({
    name: 'shoal_cluster_members',
    help: 'Members whose membership of this origin counts now',
    read: (gauge) => gauge.set(authority.members().filter(({ expiresAt }) => expiresAt > now()).length),
  });

  const refuse = (kind: string, request: FastifyRequest, reason: string): ProblemError => {
    issued.inc({ kind, result: 'refused' });
    log.warn({ kind, remote: request.ip, reason }, 'membership refused');
    return new ProblemError(403, 'Forbidden', reason);
  };

  app.get('/api/v1/cluster', async () => ({ id: cluster.id }));

  app.post(JOIN_PATH, async (request) => {
    const body = await bodyOf(request);
    const { token, peerId, role } = parse(joining, body);
    const key = memberKey(peerId);
    if (key === undefined) throw new ProblemError(400, 'Bad Request', 'peerId: must be of an Ed25519 key');
    let claims: JoinClaims;
    let membership: string;
    try {
      claims = await verifyJoinStatement(cluster.id, token, now());
      const { method, url: target, headers } = request.raw;
      const signed = {
        method: method ?? '',
        host: headers.host ?? '',
        target: target ?? '',
        statement: token,
      };
      for (const [each, name] of [
        [claims.publicKey, JOIN_PROOF_HEADER] as const,
        [key, PROOF_HEADER] as const,
      ]) {
        const hash = proofs.check(each, signed, String(headers[name] ?? ''));
        if (hash !== bodyHash([body])) throw new ProofError('the body is not the one that was signed');
      }
      membership = await authority.join(claims, { peerId, role }, request.ip);
    } catch (error) {
      if (error instanceof StatementError) throw refuse('join', request, `join token: ${error.message}`);
      if (error instanceof ProofError) throw refuse('join', request, error.message);
      throw error;
    }
    issued.inc({ kind: 'join', result: 'given' });
    log.info({ peerId, role, remote: request.ip, token: claims.id }, 'a member joined');
    return { membership };
  });

  app.post(RENEW_PATH, async (request) => {
    const member = await guard.demand(request.raw).catch((error: unknown) => {
      issued.inc({ kind: 'renew', result: 'refused' });
      throw error;
    });
    const membership = await authority.renew(member, request.ip);
    issued.inc({ kind: 'renew', result: 'given' });
    return { membership };
  });

  app.post(REVOCATIONS_PATH, async (request) => {
    const { statement } = parse(revoking, await bodyOf(request));
    try {
      const revoked = await authority.revoke(statement);
      log.warn({ revoked, remote: request.ip }, 'revoked');
      return { revoked };
    } catch (error) {
      if (error instanceof StatementError)
        throw new ProblemError(403, 'Forbidden', `revocation: ${error.message}`);
      throw error;
    }
  });

  app.get('/api/v1/cluster/members', async () => ({
    members: authority.members().map(({ peerId, role, address, joinedAt, renewedAt, expiresAt }) => ({
      peerId,
      role,
      address,
      joinedAt: new Date(joinedAt).toISOString(),
      renewedAt: new Date(renewedAt).toISOString(),
      expiresAt: new Date(expiresAt).toISOString(),
      state: cluster.isRevoked(peerId) ? 'revoked' : expiresAt > now() ? 'member' : 'expired',
    })),
  }));
}

async function bodyOf(request: FastifyRequest): Promise<Buffer> {
  const body = await readBody(request.raw, MAX_BODY_BYTES);
  if (body === undefined) throw new ProblemError(413, 'Content Too Large', 'the body is too long');
  return body;
}

function parse<T>(schema: z.ZodType<T>, body: Buffer): T {
  try {
    return schema.parse(JSON.parse(body.toString('utf8')));
  } catch {
    // What a parser says may quote a token.
    throw new ProblemError(400, 'Bad Request', 'the body is not what this takes: see /api/v1/openapi.json');
  }
}
