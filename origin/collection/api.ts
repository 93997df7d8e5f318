/** `/api/v1/gc`: what garbage collection removed and why, and a pass on request. */
import type { FastifyInstance } from 'fastify';
import { ProblemError } from '#http';
import type { Collector } from './collector.ts';

export function registerCollectionApi(app: FastifyInstance, collector: Collector): void {
  app.get('/api/v1/gc', async () => ({
    running: collector.running(),
    last: collector.last() ?? null,
    recent: collector.recent(),
  }));

  app.post<{ Querystring: { dryRun?: string } }>('/api/v1/gc', async (request) => {
    const { dryRun } = request.query;
    if (dryRun !== undefined && dryRun !== 'true' && dryRun !== 'false') {
      throw new ProblemError(400, 'Bad Request', 'dryRun is true or false');
    }
    return collector.run({ dryRun: dryRun === 'true' });
  });
}
