/** Who sent a request, as far as admission goes: the server's side of proofs. */
import type { KeyObject } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { ProblemError } from '#http';
import type { Cluster } from './cluster.ts';
import { memberKey } from './keys.ts';
import {
  bodyHash,
  createProofs,
  MEMBERSHIP_HEADER,
  PROOF_HEADER,
  ProofError,
  type SignedRequest,
} from './proof.ts';
import { type Member, StatementError } from './statements.ts';

export interface Guard {
  readonly cluster: Cluster;
  /** The member that sent this; undefined: it shows no membership. Asked any number of times. @throws ProblemError 401 */
  identify(request: IncomingMessage): Promise<Member | undefined>;
  /** @throws ProblemError 401 for who is no member */
  demand(request: IncomingMessage): Promise<Member>;
  /** Checks a body that a member signed, by the route that reads it. @throws ProblemError 400 */
  checkBody(request: IncomingMessage, body: Uint8Array): void;
}

/** The header by which members hear that the list of revocations has changed. */
export const REVOCATIONS_HEADER = 'shoal-revocations';

export function createGuard(
  cluster: Cluster,
  options: { readonly now: () => number; readonly onRefused?: (reason: string) => void },
): Guard {
  const proofs = createProofs(options.now);
  const found = new WeakMap<IncomingMessage, Promise<Member | undefined>>();
  const bodies = new WeakMap<IncomingMessage, string>();
  /** Reading a key out of a peer id costs a third of what checking a signature costs. */
  const keys = new WeakMap<Member, KeyObject>();

  const refuse = (reason: string): ProblemError => {
    options.onRefused?.(reason);
    return new ProblemError(401, 'Unauthorized', reason);
  };

  const look = async (request: IncomingMessage): Promise<Member | undefined> => {
    const statement = single(request, MEMBERSHIP_HEADER);
    if (statement === undefined) return undefined;
    const signed: SignedRequest = {
      method: request.method ?? '',
      host: request.headers.host ?? '',
      target: request.url ?? '',
      statement,
    };
    try {
      const member = await cluster.member(statement);
      const key = keys.get(member) ?? memberKey(member.peerId);
      if (key === undefined) throw new StatementError('it names nobody');
      keys.set(member, key);
      bodies.set(request, proofs.check(key, signed, single(request, PROOF_HEADER) ?? ''));
      return member;
    } catch (error) {
      if (error instanceof StatementError) throw refuse(`the membership does not count: ${error.message}`);
      if (error instanceof ProofError) throw refuse(error.message);
      throw error;
    }
  };

  const identify = (request: IncomingMessage): Promise<Member | undefined> => {
    let member = found.get(request);
    if (member === undefined) {
      member = look(request);
      found.set(request, member);
    }
    return member;
  };

  return {
    cluster,
    identify,
    async demand(request) {
      const member = await identify(request);
      if (member === undefined) {
        throw refuse('this is for members of the cluster: join it with --join-token-file');
      }
      return member;
    },
    checkBody(request, body) {
      const expected = bodies.get(request);
      if (expected !== undefined && expected !== bodyHash([body])) {
        throw new ProblemError(400, 'Bad Request', 'the body is not the one that the member signed');
      }
    },
  };
}

function single({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}
