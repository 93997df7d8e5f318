/**
 * Where members are told from strangers, the mirror serves its own machine: a client of it shows no membership.
 * Health and metrics are for whoever reaches the listener.
 */
import type { FastifyInstance } from 'fastify';
import { isFromHere, ProblemError } from '#http';
import { OciError } from '#oci';

const FOR_ALL = /^\/(?:healthz|readyz|metrics)$/;

export function keepToThisMachine(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ raw, routeOptions, url }) => {
    if (FOR_ALL.test(routeOptions.url ?? '') || isFromHere(raw)) return;
    const reason = 'the mirror serves its own machine; --admission open lets everybody in';
    if (/^\/v2(?:\/|$)/.test(url)) throw new OciError('DENIED', reason);
    throw new ProblemError(403, 'Forbidden', reason);
  });
}
