/** Bodies of requests: bounded, and honest about a cut. */
import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { ProblemError } from './problem.ts';

/**
 * The chunks of a request's body. Rejects when the client goes away before the body's end. Leaving
 * the loop early keeps the connection, so that an answer can still be sent.
 */
export function receiveBody(request: IncomingMessage): AsyncIterable<Buffer> {
  return request.iterator({ destroyOnReturn: false });
}

/** The whole of a small body, or undefined as soon as it is known to be larger than `maxBytes`. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of receiveBody(request)) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}

/** A body of JSON that has this shape. @throws ProblemError 400 with the first place that is wrong */
export function parseJsonBody<S extends z.ZodType>(body: Buffer, schema: S): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new ProblemError(400, 'Bad Request', 'the body is not JSON');
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ProblemError(
    400,
    'Bad Request',
    `${issue?.path.join('.') || 'the body'}: ${issue?.message ?? ''}`,
  );
}
