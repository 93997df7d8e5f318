/**
 * How many others hold a blob, asked by an agent that must let some go:
 *
 *     POST /api/v1/agents/<peer id>/copies   {"blobs": ["<infohash>", …]}
 *                                             {"zone": [1, …], "all": [7, …]}, in the order of the question, without the one who asks
 *
 * The zone is the agent's own, as fine as it was told. Costs two binary searches a blob.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Guard } from '#cluster';
import { ProblemError, parseJsonBody, readBody } from '#http';
import { type InfoHash, parseInfoHash } from '#torrent';
import type { AgentRecord, Agents } from './agents.ts';
import { plainIp } from './ip.ts';
import type { Zones } from './zones.ts';

const MAX_BLOBS = 1_000;
const MAX_BODY_BYTES = 64 * 1024;
const BODY_DEADLINE_MS = 10_000;

const question = z.strictObject({
  blobs: z
    .array(z.string().transform((text) => parseInfoHash(text)))
    .max(MAX_BLOBS)
    .refine((all): all is InfoHash[] => !all.includes(undefined), 'must be infohashes of 40 hex digits'),
});

export function registerCopies(
  app: FastifyInstance,
  agents: Agents,
  options: { readonly zones: Zones; readonly guard?: Guard | undefined },
): void {
  const { zones, guard } = options;
  app.post<{ Params: { peerId: string } }>('/api/v1/agents/:peerId/copies', async (request) => {
    await guard?.demand(request.raw);
    const body = await bodyOf(request);
    guard?.checkBody(request.raw, body);
    const agent = agents.find(request.params.peerId, plainIp(request.raw.socket.remoteAddress ?? ''));
    if (agent === undefined) {
      throw new ProblemError(404, 'Not Found', 'no agent with this peer id has a lease here');
    }
    const [nearest] = zones.levels(agent.zone);
    const blobs: readonly InfoHash[] = parseJsonBody(body, question).blobs;
    const counts = blobs.map((infoHash) => count(agents, agent, infoHash, nearest));
    return { zone: counts.map(({ zone }) => zone), all: counts.map(({ all }) => all) };
  });
}

/** Who is among the holders without a lease is going, and counts until then: five seconds at most. */
function count(
  agents: Agents,
  agent: AgentRecord,
  infoHash: InfoHash,
  nearest: { readonly from: number; readonly to: number } | undefined,
): { readonly zone: number; readonly all: number } {
  const holders = agents.holders(infoHash);
  const own = agents.holds(agent, infoHash) ? 1 : 0;
  const inZone =
    nearest === undefined
      ? holders.size
      : holders.placeOfRank(nearest.to) - holders.placeOfRank(nearest.from);
  return { zone: inZone - own, all: holders.size - own };
}

async function bodyOf({ raw }: FastifyRequest): Promise<Buffer> {
  const late = setTimeout(() => raw.destroy(), BODY_DEADLINE_MS);
  try {
    const body = await readBody(raw, MAX_BODY_BYTES);
    if (body === undefined) {
      throw new ProblemError(413, 'Content Too Large', `ask about ${MAX_BLOBS} blobs at most`);
    }
    return body;
  } finally {
    clearTimeout(late);
  }
}
