/** Bodies of requests, bounded and checked once. */
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Guard } from '#cluster';
import { ProblemError, parseJsonBody, readBody } from '#http';

const MAX_BODY_BYTES = 64 * 1024;
const DEADLINE_MS = 10_000;

/** @throws ProblemError 400, 413 with what is wrong */
export async function bodyOf<T>(request: FastifyRequest, schema: z.ZodType<T>, guard?: Guard): Promise<T> {
  const late = setTimeout(() => request.raw.destroy(), DEADLINE_MS);
  const body = await readBody(request.raw, MAX_BODY_BYTES).finally(() => clearTimeout(late));
  if (body === undefined) throw new ProblemError(413, 'Content Too Large', `at most ${MAX_BODY_BYTES} bytes`);
  guard?.checkBody(request.raw, body);
  return parseJsonBody(body, schema);
}
