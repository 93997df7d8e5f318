/** `GET /api/v1/report`, and what agents tell for it (see src/orders/accounts.ts). */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Guard } from '#cluster';
import { ProblemError } from '#http';
import { accounts as accountsBody, dayOf } from '#orders';
import { bodyOf } from '../body.ts';
import { speakerOf } from '../speaker.ts';
import type { Ledger } from './ledger.ts';
import { type AccountReport, reportOf } from './report.ts';

const MAX_DAYS = 400;
const MAX_IMAGES = 1_000;

const whole = (most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `must be a number from 1 to ${most}`)
    .transform(Number)
    .pipe(z.int().min(1).max(most));
const query = z.object({
  days: whole(MAX_DAYS).default(7),
  images: whole(MAX_IMAGES).default(100),
  repository: z.string().min(1).max(512).optional(),
  /** What the origin could send: then the report says how long it would have sent what was saved. */
  originBytesPerSecond: whole(Number.MAX_SAFE_INTEGER).optional(),
});

export function registerAccounts(
  app: FastifyInstance,
  ledger: Ledger,
  parts: {
    readonly guard: Guard | undefined;
    readonly repositoryOf: (name: string) => Promise<string | undefined>;
    readonly tagsOf: (repository: string) => Promise<ReadonlyMap<string, readonly string[]>>;
  },
): void {
  app.get('/api/v1/report', async (request): Promise<AccountReport> => {
    const asked = query.safeParse(request.query);
    if (!asked.success) {
      const [issue] = asked.error.issues;
      throw new ProblemError(400, 'Bad Request', `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
    }
    const { days, images, repository, originBytesPerSecond } = asked.data;
    const now = Date.now();
    return reportOf(ledger, {
      from: dayOf(now, days - 1),
      to: dayOf(now),
      // As clients name it, or as it is called here.
      repository: repository && ((await parts.repositoryOf(repository)) ?? repository),
      mostImages: images,
      originBytesPerSecond,
      tagsOf: parts.tagsOf,
    });
  });
  app.post<{ Params: { peerId: string } }>('/api/v1/agents/:peerId/accounts', async (request) => {
    const node = await speakerOf(request, parts.guard);
    const { rows } = await bodyOf(request, accountsBody, parts.guard);
    return ledger.take(node, rows);
  });
}
