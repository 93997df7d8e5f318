/**
 * Preheat calls of other tools, so that a Harbor that knows nothing of Shoal drives it:
 *
 *     kraken      GET /health; POST /registry/notifications with events of the distribution registry's form, which Harbor's driver
 *                 writes with capital letters; a registry's own notifications are understood as well
 *     dragonfly   GET /healthy; POST /oapi/v1/jobs, GET /oapi/v1/jobs/<number> (Dragonfly's Open API for jobs of the type preheat)
 *
 * Each is off unless it is configured, and needs the right `manage`, as Basic credentials of the instance. The image is named by its URL: where its host is
 * an upstream of this origin it is fetched from there, else the repository of that name is looked for here.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ProblemError } from '#http';
import { isManifestMediaType, isRegistryHost } from '#oci';
import { bodyOf } from '../body.ts';
import { isFinal, type Rollout } from './machine.ts';
import type { Rollouts } from './rollouts.ts';
import type { Triggers } from './triggers.ts';
import { nodeViews } from './view.ts';

export type PreheatDriver = 'kraken' | 'dragonfly';

const MAX_EVENTS = 100;
const MAX_TASKS = 1_000;
const short = z.string().max(1_024);
const event = z.object({
  action: short,
  target: z
    .object({
      mediatype: short.optional(),
      digest: short.optional(),
      repository: short.optional(),
      url: z.string().max(4_096).optional(),
      tag: short.optional(),
    })
    .nullish(),
});
const notification = z.object({ events: z.array(event).max(MAX_EVENTS) });
const job = z.object({
  type: z.literal('preheat'),
  args: z.object({ type: z.literal('image'), url: z.string().min(1).max(4_096) }),
});

export function registerPreheat(
  app: FastifyInstance,
  parts: {
    readonly drivers: readonly PreheatDriver[];
    readonly selector: string;
    readonly rollouts: Rollouts;
    readonly triggers: Triggers;
  },
): void {
  const { drivers, selector, rollouts, triggers } = parts;
  if (drivers.includes('kraken')) {
    app.get('/health', async () => ({ status: 'ok' }));
    app.post('/registry/notifications', async (request) => {
      const { events } = await bodyOf(request, z.preprocess(withSmallLetters, notification));
      const images = events.flatMap(({ action, target }) => {
        if (action !== 'push' || !target?.repository) return [];
        // A registry tells of pushed layers, too.
        if (target.mediatype !== undefined && !isManifestMediaType(target.mediatype)) return [];
        const reference = target.digest ? `@${target.digest}` : `:${target.tag || 'latest'}`;
        return [imageAt(target.url, `${target.repository}${reference}`)];
      });
      for (const image of images) await triggers.prefetch(image, selector, 'kraken');
      return {};
    });
  }
  if (drivers.includes('dragonfly')) {
    app.get('/healthy', async () => ({ status: 'ok' }));
    app.post('/oapi/v1/jobs', async (request) => {
      const { args } = await bodyOf(request, job);
      const [, name, reference] =
        /\/v2\/(.{1,512})\/manifests\/([^/?]{1,200})$/.exec(URL.parse(args.url)?.pathname ?? '') ?? [];
      if (name === undefined || reference === undefined) {
        throw new ProblemError(
          400,
          'Bad Request',
          'args.url: must be the URL of a manifest, …/v2/NAME/manifests/REFERENCE',
        );
      }
      const image = imageAt(args.url, `${name}${reference.includes(':') ? '@' : ':'}${reference}`);
      return jobView(await triggers.prefetch(image, selector, 'dragonfly'), rollouts);
    });
    app.get('/oapi/v1/jobs/:number', async (request: FastifyRequest<{ Params: { number: string } }>) => {
      const { number } = request.params;
      const rollout = rollouts.list().find(({ createdAt }) => String(createdAt) === number);
      if (rollout !== undefined) return jobView(rollout, rollouts);
      throw new ProblemError(404, 'Not Found', `there is no job ${number.slice(0, 32)}`);
    });
  }
}

/** With the host of the URL in front, where an image's name may begin with it. */
function imageAt(url: string | undefined, name: string): string {
  const host = URL.parse(url ?? '')?.host ?? '';
  return isRegistryHost(host) ? `${host}/${name}` : name;
}

/** Harbor writes `Events` and `MediaType` where a registry writes `events` and `mediaType`. */
function withSmallLetters(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, MAX_EVENTS + 1).map(withSmallLetters);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key.toLowerCase(), withSmallLetters(inner)]),
  );
}

/** A job as Dragonfly's Open API tells it. Its number is the time of its beginning, which is no other's. */
function jobView(rollout: Rollout, rollouts: Rollouts) {
  const { createdAt, endedAt, phase, reason, image } = rollout;
  const nodes = nodeViews(rollout, rollouts.nodes, Date.now()).slice(0, MAX_TASKS);
  const ended = isFinal(rollout);
  const done = nodes.filter(({ state }) => state === 'done');
  const state = !ended ? 'PENDING' : phase === 'done' && done.length > 0 ? 'SUCCESS' : 'FAILURE';
  const task = ({ name }: { readonly name: string }) => ({ url: image, hostname: name, ip: '' });
  const failed = ended ? nodes.filter((node) => node.state !== 'done') : [];
  return {
    id: createdAt,
    created_at: new Date(createdAt).toISOString(),
    updated_at: new Date(endedAt ?? Date.now()).toISOString(),
    type: 'preheat',
    state,
    result: {
      job_states: [
        {
          error: state === 'FAILURE' ? (reason ?? `it was ${phase}`) : '',
          results: [
            {
              scheduler_cluster_id: 1,
              success_tasks: done.map(task),
              failure_tasks: failed.map((node) => ({
                ...task(node),
                description: node.reason ?? node.state,
              })),
            },
          ],
        },
      ],
    },
  };
}
