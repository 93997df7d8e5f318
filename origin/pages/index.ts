/**
 * The pages for people, below /ui, and what they are fed: live state as server-sent events below /api/v1/live, and
 * repositories at Quay's paths. Whoever reads them needs the right `manage`, as for the rest of /api/v1.
 *
 *     registerPages(app, { rollouts, tracker, metadata, identify, status, publicUrl });
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ProblemError } from '#http';
import type { Rollouts } from '../rollouts/index.ts';
import { refuseCrossSite } from './cross-site.ts';
import { createFeeds, type ReadState } from './feed.ts';
import { createFiles, type ServedFile } from './files.ts';
import { readNodes, readOverview, readRollout, readSwarm } from './live.ts';
import { type RepositoryParts, registerRepositories } from './repositories.ts';
import { PAGE_HEADERS, shell } from './shell.ts';

export { pagePaths } from './openapi.ts';

export interface PageParts extends RepositoryParts {
  readonly rollouts: Rollouts;
  /** What the overview says of the origin itself. */
  readonly status: () => object;
  readonly publicUrl: string | undefined;
}

export function registerPages(app: FastifyInstance, parts: PageParts): void {
  const { rollouts, tracker, identify } = parts;
  refuseCrossSite(app, parts.publicUrl);
  registerRepositories(app, parts);

  const files = createFiles();
  const document = shell(files.modules);
  app.get('/', async (_request, reply) => reply.redirect('/ui/'));
  app.get('/ui', async (_request, reply) => reply.redirect('/ui/'));
  app.get('/ui/*', async (_request, reply) =>
    reply
      .headers(PAGE_HEADERS)
      .header('cache-control', 'no-store')
      .type('text/html; charset=utf-8')
      .send(document),
  );
  app.get<{ Params: { name: string } }>('/ui/files/:name', async (request, reply) => {
    const file = await files.get(request.params.name);
    if (file === undefined) throw new ProblemError(404, 'Not Found', 'there is no such file');
    return sendFile(request, reply, file);
  });

  const feeds = createFeeds();
  app.addHook('preClose', async () => feeds.close());
  const listen = (request: FastifyRequest, reply: FastifyReply, name: string, read: ReadState) => {
    const lastEventId = request.headers['last-event-id'];
    const stream = feeds.listen(name, read, typeof lastEventId === 'string' ? lastEventId : undefined);
    if (stream === undefined) {
      reply.header('retry-after', 5);
      throw new ProblemError(
        503,
        'Service Unavailable',
        'too many listen already, or this origin is stopping',
      );
    }
    return reply
      .headers({
        ...{ 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
        ...{ 'x-accel-buffering': 'no', 'x-content-type-options': 'nosniff' },
      })
      .send(stream);
  };
  const overview = readOverview(rollouts, parts.status);
  const nodes = readNodes(rollouts);
  app.get('/api/v1/live/overview', (request, reply) => listen(request, reply, 'overview', overview));
  app.get('/api/v1/live/nodes', (request, reply) => listen(request, reply, 'nodes', nodes));
  app.get<{ Params: { id: string } }>('/api/v1/live/rollouts/:id', (request, reply) => {
    const { id } = request.params;
    if (rollouts.get(id) === undefined) throw new ProblemError(404, 'Not Found', 'there is no such rollout');
    return listen(request, reply, `rollout ${id}`, readRollout(rollouts, id));
  });
  app.get<{ Params: { blob: string } }>('/api/v1/live/swarms/:blob', async (request, reply) => {
    const known = await identify(request.params.blob);
    if (known === undefined) throw new ProblemError(404, 'Not Found', 'nothing here has this digest');
    return listen(request, reply, `swarm ${known.infoHash}`, readSwarm(tracker, known));
  });
}

function sendFile(request: FastifyRequest, reply: FastifyReply, file: ServedFile): FastifyReply {
  reply.headers({
    ...PAGE_HEADERS,
    etag: file.etag,
    // Asked again each time: after an upgrade no page is made of two versions.
    'cache-control': 'private, no-cache',
    vary: 'accept-encoding',
  });
  if (request.headers['if-none-match']?.split(/,\s*/).includes(file.etag)) return reply.status(304).send();
  const zipped = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  if (zipped) reply.header('content-encoding', 'gzip');
  return reply.type(file.type).send(zipped ? file.gzipped : file.body);
}
