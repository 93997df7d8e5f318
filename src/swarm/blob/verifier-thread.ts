/** The thread of verifier.ts: hashes shared memory where it is. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

export interface Task {
  readonly id: number;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
}

export interface Answer {
  readonly id: number;
  readonly digest: Uint8Array;
}

const port = parentPort;
port?.on('message', ({ id, bytes }: Task) => {
  const answer: Answer = { id, digest: createHash('sha1').update(bytes).digest() };
  port.postMessage(answer);
});
