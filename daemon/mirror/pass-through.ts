/** Lists that only the origin knows: tags and referrers. Passed on as they are. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Client } from '../client.ts';
import type { OriginClient } from '../origin-client.ts';
import type { Repository } from '../repository.ts';

export async function answerPassThrough(
  context: { readonly origin: OriginClient },
  exchange: {
    readonly repository: Repository;
    /** Below the repository. */
    readonly path: string;
    readonly client: Client | undefined;
    readonly request: FastifyRequest;
    readonly reply: FastifyReply;
  },
): Promise<FastifyReply> {
  const { request, reply } = exchange;
  const question = request.url.indexOf('?');
  const answer = await context.origin.passThrough(
    exchange.repository,
    exchange.path,
    question < 0 ? '' : request.url.slice(question + 1),
    { requestId: request.id, as: exchange.client },
  );
  if (answer.link !== undefined) reply.header('link', answer.link);
  reply.type(answer.contentType).header('content-length', answer.bytes.length);
  return request.method === 'HEAD' ? reply.send() : reply.send(answer.bytes);
}
