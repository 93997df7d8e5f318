/** Which node speaks: the path names it, and under admission its proof does. */
import type { FastifyRequest } from 'fastify';
import type { Guard } from '#cluster';
import { ProblemError } from '#http';

/** An Ed25519 peer id of libp2p. */
const NODE_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;

/** The peer id in the path; a member speaks for itself alone. @throws ProblemError 400, 401, 403 */
export async function speakerOf(
  request: FastifyRequest<{ Params: { peerId: string } }>,
  guard: Guard | undefined,
): Promise<string> {
  const { peerId } = request.params;
  if (!NODE_ID.test(peerId)) {
    throw new ProblemError(400, 'Bad Request', 'a node is named by its peer id, 12D3KooW…');
  }
  const member = await guard?.demand(request.raw);
  if (member !== undefined && member.peerId !== peerId) {
    throw new ProblemError(403, 'Forbidden', 'this is another member than the one that sends this');
  }
  return peerId;
}
