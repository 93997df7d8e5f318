/**
 * `/api/v1/rollouts`, `/api/v1/prefetch` and `/api/v1/nodes` for management, and the agents' side: orders and reports
 * (see src/orders).
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Guard } from '#cluster';
import { ProblemError } from '#http';
import { hello, PLATFORM, reports } from '#orders';
import { bodyOf } from '../body.ts';
import { speakerOf } from '../speaker.ts';
import { listNodes } from './listing.ts';
import { isFinal } from './machine.ts';
import type { NewRollout, RolloutLook, Rollouts } from './rollouts.ts';
import { summaryOf, troubleOf } from './view.ts';
import { parseWaves, type WaveSize } from './waves.ts';

const PREFETCH_DEADLINE_S = 24 * 3_600;
const MAX_DEADLINE_S = 30 * 24 * 3_600;

const common = {
  image: z.string().min(1).max(1_024),
  nodes: z.string().min(1).max(1_024),
  platforms: z
    .array(
      z.union([z.literal('all'), z.string().max(64).regex(PLATFORM, 'must be like linux/amd64, or all')]),
    )
    .max(16)
    .default([]),
};
const seconds = z.int().min(1).max(MAX_DEADLINE_S);
const prefetchBody = z.strictObject({ ...common, deadlineSeconds: seconds.default(PREFETCH_DEADLINE_S) });
const rolloutBody = z.strictObject({
  ...common,
  waves: z.string().max(200).default('10%,50%,100%'),
  maxUnavailable: z.string().max(10).default('10%'),
  deadlineSeconds: seconds.default(3_600),
  bytesPerSecond: z.int().min(1).max(Number.MAX_SAFE_INTEGER).optional(),
});

export function registerRollouts(
  app: FastifyInstance,
  rollouts: Rollouts,
  {
    guard,
    holdings,
  }: {
    readonly guard: Guard | undefined;
    /** Blobs that agents hold, by their peer ids. */
    readonly holdings: () => ReadonlyMap<string, number>;
  },
): void {
  const create = async (wanted: NewRollout) => rollouts.view(await rollouts.create(wanted));
  app.post('/api/v1/prefetch', async (request, reply) => {
    const { image, nodes, platforms, deadlineSeconds } = await bodyOf(request, prefetchBody);
    const wanted = { kind: 'prefetch', image, platforms, waves: parseWaves('100%'), trigger: 'api' } as const;
    const view = await create({ ...wanted, selector: nodes, deadlineMs: deadlineSeconds * 1000 });
    return reply.status(201).header('location', `/api/v1/rollouts/${view.id}`).send(view);
  });
  app.post('/api/v1/rollouts', async (request, reply) => {
    const body = await bodyOf(request, rolloutBody);
    const { image, nodes, platforms, bytesPerSecond } = body;
    const view = await create({
      ...{ kind: 'rollout', image, platforms, bytesPerSecond, selector: nodes, trigger: 'api' },
      waves: orProblem('waves', () => parseWaves(body.waves)),
      maxUnavailable: orProblem('maxUnavailable', () => parseMost(body.maxUnavailable)),
      deadlineMs: body.deadlineSeconds * 1000,
    });
    return reply.status(201).header('location', `/api/v1/rollouts/${view.id}`).send(view);
  });
  app.get<{ Querystring: { ended?: unknown } }>('/api/v1/rollouts', async ({ query }) => {
    await rollouts.settled();
    const all = rollouts.list();
    const ended = query.ended === 'true' ? true : query.ended === 'false' ? false : undefined;
    const wanted = all.filter((rollout) => ended === undefined || isFinal(rollout) === ended);
    return {
      rollouts: wanted.map((rollout) => summaryOf(rollout, rollouts.nodes)),
    };
  });
  const look = async (id: string): Promise<RolloutLook> => {
    const rollout = rollouts.get(id);
    if (rollout === undefined) {
      throw new ProblemError(404, 'Not Found', `there is no rollout ${id.slice(0, 64)}`);
    }
    await rollouts.settled();
    return rollouts.look(rollout);
  };
  type OfRollout = { Params: { id: string }; Querystring: { nodes?: unknown } };
  app.get<OfRollout>('/api/v1/rollouts/:id', async ({ params, query }) => {
    const { view, each } = await look(params.id);
    return query.nodes === 'true' ? { ...view, eachNode: each } : view;
  });
  app.get<OfRollout>('/api/v1/rollouts/:id/nodes', async ({ params, query }) =>
    listNodes((await look(params.id)).each, query, {
      name: ({ name }) => name,
      zone: ({ zone }) => zone ?? '',
      wave: ({ wave }) => wave,
      state: ({ state }) => state,
      progress: ({ haveBytes, totalBytes }) => (totalBytes === 0 ? 0 : haveBytes / totalBytes),
      seconds: ({ seconds }) => seconds ?? 0,
      trouble: troubleOf,
    }),
  );
  for (const command of ['pause', 'resume', 'cancel'] as const) {
    app.post<{ Params: { id: string } }>(`/api/v1/rollouts/:id/${command}`, async ({ params }) =>
      rollouts.view(await rollouts.command(params.id.slice(0, 64), command)),
    );
  }
  app.get('/api/v1/nodes', async ({ query }) => {
    const held = holdings();
    const all = Array.from(rollouts.nodes.list(), ({ id, name, zone, seenAt }) => ({
      ...{ id, name, zone: zone ?? null },
      state: rollouts.nodes.isAway(id) ? 'away' : 'here',
      lastSeen: new Date(seenAt).toISOString(),
      blobs: held.get(id) ?? null,
    }));
    return listNodes(all, query, {
      name: ({ name }) => name,
      zone: ({ zone }) => zone ?? '',
      state: ({ state }) => state,
      lastSeen: ({ lastSeen }) => lastSeen,
      blobs: ({ blobs }) => blobs ?? -1,
    });
  });

  type Params = { Params: { peerId: string } };
  app.post<Params>('/api/v1/agents/:peerId/orders', async (request) => {
    const node = await speakerOf(request, guard);
    const said = await bodyOf(request, hello, guard);
    const gone = new AbortController();
    const { socket } = request.raw;
    const onClose = (): void => gone.abort();
    if (socket.destroyed) onClose();
    socket.once('close', onClose);
    try {
      return await rollouts.hello(node, said, gone.signal);
    } finally {
      socket.off('close', onClose);
    }
  });
  app.post<Params>('/api/v1/agents/:peerId/reports', async (request) => {
    const node = await speakerOf(request, guard);
    const told = await bodyOf(request, reports, guard);
    return rollouts.report(node, told.reports);
  });
  // Who waits is answered when the drain begins; it comes back when we do.
  app.addHook('preClose', async () => rollouts.release());
}

/** `5` nodes or `10%` of them; `0` is possible. @throws RangeError */
function parseMost(text: string): WaveSize {
  const [, digits, percent] = /^(\d{1,6})(%?)$/.exec(text) ?? [];
  if (digits === undefined || (percent === '%' && Number(digits) > 100)) {
    throw new RangeError(`'${text}' is neither a number of nodes nor a share such as 10%`);
  }
  return percent === '%' ? { percent: Number(digits) } : { count: Number(digits) };
}

function orProblem<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) throw new ProblemError(400, 'Bad Request', `${what}: ${error.message}`);
    throw error;
  }
}
