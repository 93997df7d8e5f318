/**
 * Proof of possession: a member signs each request with its libp2p key, so that a membership that somebody
 * else has got hold of is of no use to them. What is signed binds the signature to the server (its Host
 * header), the method, the path and query, the body, the membership, and a moment; a server takes each once.
 *
 *     Shoal-Membership: <JWT>
 *     Shoal-Proof: <milliseconds>.<nonce>.<sha256 of the body>.<Ed25519 signature>
 */
import { createHash, type KeyObject, randomBytes, sign, verify } from 'node:crypto';

/** What a signature is of. */
export interface SignedRequest {
  readonly method: string;
  /** As the Host header has it. */
  readonly host: string;
  /** Path and query. */
  readonly target: string;
  /** The membership, or another statement that goes with the request. */
  readonly statement: string;
}

export const MEMBERSHIP_HEADER = 'shoal-membership';
export const PROOF_HEADER = 'shoal-proof';

/** How far the clocks of two members may be apart, a request's way included. */
const WINDOW_MS = 60_000;
/** Of requests that members signed within two windows; more is a member that floods. */
const MAX_SEEN = 500_000;
const PROOF = /^(\d{13})\.([\w-]{16})\.([\w-]{43})\.([\w-]{86})$/;

/** SHA-256 of a body, as proofs have it. */
export function bodyHash(parts: Iterable<string | Uint8Array>): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('base64url');
}

export const NO_BODY = bodyHash([]);

function signedText(
  { method, host, target, statement }: SignedRequest,
  time: string,
  nonce: string,
  body: string,
): Buffer {
  const lines = ['shoal-proof-v1', method, host.toLowerCase(), target, time, nonce, body, statement];
  return Buffer.from(lines.join('\n'), 'utf8');
}

/** The proof of a request whose body has this hash. */
export function signProof(key: KeyObject, request: SignedRequest, body: string, now: number): string {
  const [time, nonce] = [String(Math.round(now)), randomBytes(12).toString('base64url')];
  const signature = sign(null, signedText(request, time, nonce, body), key).toString('base64url');
  return `${time}.${nonce}.${body}.${signature}`;
}

/** Why a proof is not taken. */
export class ProofError extends Error {
  override readonly name = 'ProofError';
}

export interface Proofs {
  /** Answers with the hash that the body must have. @throws ProofError */
  check(key: KeyObject, request: SignedRequest, proof: string): string;
}

/** Checks proofs, each of which counts once. */
export function createProofs(now: () => number): Proofs {
  /** Of the window that runs and of the one before it: older ones are refused by their time. */
  let [current, previous] = [new Set<string>(), new Set<string>()];
  let turnsAt = now() + 2 * WINDOW_MS;

  return {
    check(key, request, proof) {
      const [, time = '', nonce = '', body = '', signature = ''] = PROOF.exec(proof) ?? [];
      if (signature === '') throw new ProofError('the proof cannot be read');
      const at = now();
      if (Math.abs(at - Number(time)) > WINDOW_MS) {
        throw new ProofError('the proof is of another time: are the clocks right?');
      }
      if (!verify(null, signedText(request, time, nonce, body), key, Buffer.from(signature, 'base64url'))) {
        throw new ProofError('the proof is not of this member and this request');
      }
      if (at >= turnsAt) {
        [current, previous] = [new Set(), at >= turnsAt + 2 * WINDOW_MS ? new Set() : current];
        turnsAt = at + 2 * WINDOW_MS;
      }
      // A signature could be written in other ways; what was signed cannot.
      const name = `${nonce}${time}`;
      if (current.has(name) || previous.has(name)) throw new ProofError('the proof was used before');
      if (current.size >= MAX_SEEN) throw new ProofError('too many requests of members');
      current.add(name);
      return body;
    },
  };
}
