/**
 * A client of the mirror, as far as rights go: the `Authorization` that it sent, or that it sent none.
 * Where clients are told apart, such a header takes the place of the agent's own credentials.
 */
import { createHmac, randomBytes } from 'node:crypto';

export interface Client {
  /** As it came; undefined: nobody in particular. Never logged, never kept on a disk. */
  readonly authorization: string | undefined;
  /** Stands for it in keys and maps, so that these hold no secret. */
  readonly key: string;
}

/** Of this process: a key is of no use anywhere else. */
const secret = randomBytes(32);

export function toClient(authorization: string | undefined): Client {
  if (authorization === undefined) return { authorization, key: '' };
  return { authorization, key: createHmac('sha256', secret).update(authorization).digest('base64url') };
}
