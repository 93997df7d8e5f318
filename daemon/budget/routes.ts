/** `GET` and `PUT /api/v1/limits`: the rates of now and why, and an operator's word. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { duration } from '#config';
import { isFromHere, ProblemError, parseJsonBody, readBody } from '#http';
import type { Metrics } from '#telemetry';
import { type Budget, type BudgetState, DIRECTIONS, type Direction } from './budget.ts';
import type { OpenBudget } from './kept.ts';
import { rateOrNone } from './options.ts';
import type { Rate } from './schedule.ts';

const MAX_BODY_BYTES = 4_096;
/** Longer is a slip. */
const LONGEST_MS = 366 * 24 * 3_600_000;

const told = z.string().transform((text, context): Rate => {
  const value = rateOrNone.schema.safeParse(text).data;
  if (value !== undefined) return value;
  context.addIssue({ code: 'custom', message: `expected ${rateOrNone.expected}` });
  return z.NEVER;
});
const lasting = duration.schema.refine((ms) => ms <= LONGEST_MS, 'a year at most');

/** Null takes a word back; what is left out stays. */
const bodySchema = z
  .strictObject({
    upload: told.nullable().optional(),
    download: told.nullable().optional(),
    for: lasting.optional(),
    rollout: lasting.nullable().optional(),
  })
  .refine((body) => Object.keys(body).length > 0, 'nothing is set: upload, download or rollout')
  .refine(
    (body) => body.for === undefined || (body.upload ?? body.download ?? undefined) !== undefined,
    'for says how long upload or download count, and neither is set',
  );

export function registerLimits(
  app: FastifyInstance,
  context: { readonly budget: OpenBudget; readonly maxConnections: number },
): void {
  const { budget } = context;
  const answer = (): unknown => ({ ...shown(budget), connections: { limit: context.maxConnections } });
  app.get('/api/v1/limits', async () => answer());
  app.put('/api/v1/limits', async (request) => {
    if (!isFromHere(request.raw)) {
      throw new ProblemError(403, 'Forbidden', 'limits are set from the machine itself: shoal limits');
    }
    const bytes = await readBody(request.raw, MAX_BODY_BYTES);
    if (bytes === undefined) throw new ProblemError(413, 'Content Too Large', 'the body is too long');
    await budget.keep(after(budget.state, parseJsonBody(bytes, bodySchema), Date.now()));
    request.log.info({ limits: budget.limits }, 'limits were set');
    return answer();
  });
}

/** The state when this was asked for at `at`. */
function after(state: BudgetState, body: z.output<typeof bodySchema>, at: number): BudgetState {
  const next: { -readonly [K in keyof BudgetState]: BudgetState[K] } = { ...state };
  for (const direction of DIRECTIONS) {
    const rate = body[direction];
    if (rate === null) delete next[direction];
    else if (rate !== undefined) next[direction] = { rate, ...(body.for && { until: at + body.for }) };
  }
  if (body.rollout === null) delete next.rollout;
  else if (body.rollout !== undefined) next.rollout = { until: at + body.rollout };
  return next;
}

function shown({ limits, state }: Budget): Record<string, unknown> {
  const until = (at: number | undefined): string | null =>
    at === undefined ? null : new Date(at).toISOString();
  const one = (direction: Direction): unknown => {
    const { rate, because } = limits[direction];
    const ends = because === 'set' ? state[direction] : because === 'rollout' ? state.rollout : undefined;
    return { bytesPerSecond: rate === 'unlimited' ? null : rate, because, until: until(ends?.until) };
  };
  return {
    upload: one('upload'),
    download: one('download'),
    rollout: state.rollout === undefined ? null : { until: until(state.rollout.until) },
  };
}

export function exposeLimits(metrics: Metrics, budget: Budget): void {
  metrics.gauge({
    name: 'shoal_rate_limit_bytes_per_second',
    help: 'The rate that the agent keeps to now; +Inf without a limit',
    labels: ['direction'],
    read: (gauge) => {
      for (const direction of DIRECTIONS) {
        const { rate } = budget.limits[direction];
        gauge.set(
          { direction: direction === 'upload' ? 'out' : 'in' },
          rate === 'unlimited' ? Number.POSITIVE_INFINITY : rate,
        );
      }
    },
  });
}
