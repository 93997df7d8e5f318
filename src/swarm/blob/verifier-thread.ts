/** The thread of verifier.ts: takes a buffer, gives it back with the SHA-1 of its beginning. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

export interface Task {
  readonly id: number;
  readonly buffer: ArrayBuffer;
  readonly length: number;
}

export interface Answer {
  readonly id: number;
  readonly buffer: ArrayBuffer;
  readonly digest: Uint8Array;
}

const port = parentPort;
port?.on('message', ({ id, buffer, length }: Task) => {
  const digest = createHash('sha1')
    .update(new Uint8Array(buffer, 0, length))
    .digest();
  const answer: Answer = { id, buffer, digest };
  port.postMessage(answer, [buffer]);
});
