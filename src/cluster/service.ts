/** What programs with members do alike: tell them of revocations, count refusals, and let the swarm check. */
import type { FastifyInstance } from 'fastify';
import type { SwarmMembership } from '#swarm';
import type { Logger, Metrics } from '#telemetry';
import type { Cluster } from './cluster.ts';
import { type Guard, REVOCATIONS_HEADER } from './guard.ts';
import { type Membership, REVOCATIONS_PATH } from './membership.ts';

/** Counts who was refused; at debug the log says why, for strangers can make it say so at any rate. */
export function createRefusals(
  metrics: Metrics,
  log: Logger,
): (where: 'http' | 'swarm', reason: string, peerId?: string) => void {
  const refused = metrics.counter<'where'>({
    name: 'shoal_admission_refused_total',
    help: 'Requests and connections that were refused because their sender is no member of the cluster',
    labels: ['where'],
    known: [{ where: 'http' }, { where: 'swarm' }],
  });
  return (where, reason, peerId) => {
    refused.inc({ where });
    log.debug({ where, reason, peerId }, 'not admitted');
  };
}

/** Says for how long we are a member, so that somebody may be woken before we are none. */
export function exposeMembership(metrics: Metrics, membership: Pick<Membership, 'expiresAt'>): void {
  metrics.gauge({
    name: 'shoal_membership_seconds',
    help: 'For how long the membership of the cluster still counts; 0: this is no member',
    read: (gauge) => gauge.set(Math.max(0, ((membership.expiresAt() ?? 0) - Date.now()) / 1000)),
  });
}

/** Answers to members name the list of revocations, and members may read it. */
export function registerRevocations(app: FastifyInstance, guard: Guard): void {
  const { cluster } = guard;
  app.addHook('onRequest', async (request, reply) => {
    const member = await guard.identify(request.raw);
    if (member !== undefined) reply.header(REVOCATIONS_HEADER, cluster.version);
  });
  app.get(REVOCATIONS_PATH, async (request) => {
    await guard.demand(request.raw);
    return { version: cluster.version, revocations: cluster.statements() };
  });
}

/** Memberships as the swarm asks for them. */
export function membershipForSwarm(
  cluster: Cluster,
  credential: () => string | undefined,
  onRefused: (reason: string, peerId: string) => void,
): SwarmMembership {
  return {
    credential,
    check: (text) => cluster.member(text),
    onRevoked: (listener) => cluster.onRevoked(listener),
    refused: (peerId, reason) => onRefused(reason, peerId),
  };
}
