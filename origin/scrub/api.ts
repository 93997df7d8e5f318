/** `/api/v1/scrub`: begins a scrub, and says how far it is and what it found. */
import type { FastifyInstance } from 'fastify';
import type { Scrubber } from './scrub.ts';

export function registerScrubApi(app: FastifyInstance, scrubber: Scrubber): void {
  app.get('/api/v1/scrub', async () => scrubber.state());
  app.post('/api/v1/scrub', async (_request, reply) => reply.status(202).send(scrubber.start()));
}
