/**
 * Who has what (an API of ours, under /api/v1/swarms):
 *
 *     GET /api/v1/swarms?last=<infohash>&n=100        blobs that somebody announced lately, in pages
 *     GET /api/v1/swarms/<digest or infohash>?offset=0&n=100   one of them, its members in pages
 *
 * A tracker that runs alone knows infohashes only.
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { ProblemError } from '#http';
import { type InfoHash, parseInfoHash } from '#torrent';
import type { Swarms } from './swarms.ts';

/** The blob of a swarm, as far as it is known. */
interface SwarmBlob {
  readonly infoHash: InfoHash;
  readonly digest?: string;
  /** Bytes. */
  readonly size?: number;
}

/** The blob that a digest or an infohash names; undefined when there is none. */
export type IdentifyBlob = (text: string) => Promise<SwarmBlob | undefined>;

const MOST_BLOBS = 1_000;
const MOST_MEMBERS = 10_000;

const whole = (most: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, 'must be a whole number')
    .transform((text) => Math.min(Number(text), most));
const listQuery = z.strictObject({
  n: whole(MOST_BLOBS).default(100),
  last: z
    .string()
    .regex(/^[0-9a-f]{40}$/, 'must be an infohash')
    .default(''),
});
const viewQuery = z.strictObject({
  n: whole(MOST_MEMBERS).default(100),
  offset: whole(Number.MAX_SAFE_INTEGER).default(0),
});

export function registerSwarms(app: FastifyInstance, swarms: Swarms, identify: IdentifyBlob): void {
  app.get('/api/v1/swarms', async (request) => {
    const { n, last } = parse(listQuery, request.query);
    const found = swarms.list(last, n + 1);
    const page = found.slice(0, n);
    return {
      swarms: await Promise.all(
        page.map(async (summary) => ({ ...(await named(identify, summary.infoHash)), ...summary })),
      ),
      next: found.length > n ? (page.at(-1)?.infoHash ?? null) : null,
    };
  });

  app.get<{ Params: { blob: string } }>('/api/v1/swarms/:blob', async (request) => {
    const { n, offset } = parse(viewQuery, request.query);
    const { blob } = request.params;
    const known = await identify(blob);
    const infoHash = known?.infoHash ?? parseInfoHash(blob);
    if (infoHash === undefined) {
      throw new ProblemError(
        404,
        'Not Found',
        `no blob here has the digest or infohash ${blob.slice(0, 140)}`,
      );
    }
    const { members, ...view } = swarms.view(infoHash, offset, n + 1);
    return {
      digest: known?.digest ?? null,
      size: known?.size ?? null,
      ...view,
      members: members.slice(0, n),
      next: members.length > n ? offset + n : null,
    };
  });
}

/** Digest and size of a blob; null each when they are not known. */
async function named(
  identify: IdentifyBlob,
  infoHash: InfoHash,
): Promise<{ readonly digest: string | null; readonly size: number | null }> {
  const { digest, size } = (await identify(infoHash)) ?? {};
  return { digest: digest ?? null, size: size ?? null };
}

function parse<T>(schema: z.ZodType<T>, query: unknown): T {
  const result = schema.safeParse(query);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ProblemError(400, 'Bad Request', `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}
