/**
 * The pool: starts threads when they are needed, gives a job to the thread with the fewest, keeps a
 * follower on the thread that holds its state, and lets the process exit while nothing is asked.
 */
import { Worker } from 'node:worker_threads';
import type { DigestAlgorithm } from '#oci';
import type { Job, JobAnswer, JobMessage, JobResult, LeafHashes } from './protocol.ts';

export interface Hashing {
  /** SHA-1 of each piece of a file, 20 bytes each, one after another. Rejects with the file's error. */
  hashPieces(path: string, pieceLength: number): Promise<Uint8Array>;
  /** Which of the pieces `which` are in the file as `pieces` (20 bytes each) says. */
  checkPieces(
    path: string,
    pieceLength: number,
    pieces: Uint8Array,
    which: readonly number[],
  ): Promise<readonly boolean[]>;
  /** SHA-256 of each leaf of a file, and the digest of all of it, in one reading. */
  hashLeaves(path: string, leafLength: number, algorithm: DigestAlgorithm): Promise<LeafHashes>;
  /** SHA-1 of bytes in shared memory, hashed where they are. They must not change meanwhile. */
  sha1(bytes: Uint8Array<SharedArrayBuffer>): Promise<Uint8Array>;
  /** SHA-256 of each leaf of bytes in shared memory, and the SHA-1 of all of them as their digest. They must not change meanwhile. */
  hashLeavesOf(bytes: Uint8Array<SharedArrayBuffer>, leafLength: number): Promise<LeafHashes>;
  /** The hex digest of a file. */
  digestFile(path: string, algorithm: DigestAlgorithm): Promise<string>;
  /** The digest (by default sha256) of a file that is still being written, computed as its front grows. */
  followDigest(path: string, algorithm?: DigestAlgorithm): DigestFollower;
  /** Ends the threads; what was asked and is not done rejects. */
  close(): Promise<void>;
}

export interface DigestFollower {
  /** The bytes before `upTo` may be read now. Returns at once. */
  advance(upTo: number): void;
  /** The hex digest of the first `size` bytes; ends the follower. Rejects when the file could not be read. */
  finish(size: number): Promise<string>;
  /** Ends it without an answer. Resolves when the file is let go, which gives back the space of a removed one. */
  abort(): Promise<void>;
}

interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<number, { resolve(result: JobResult): void; reject(error: Error): void }>;
}

const DEFAULT_THREADS = 2;

export function createHashing(options: { readonly threads?: number } = {}): Hashing {
  const most = options.threads ?? DEFAULT_THREADS;
  const threads = new Set<Thread>();
  let nextId = 1;
  let closed = false;

  const start = (): Thread => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    const thread: Thread = { worker, waiting: new Map() };
    worker.unref();
    worker.on('message', (answer: JobAnswer) => {
      const waiter = thread.waiting.get(answer.id);
      thread.waiting.delete(answer.id);
      // A late answer must not let the process exit while `close` waits for the thread.
      if (thread.waiting.size === 0 && !closed) worker.unref();
      if ('error' in answer) {
        waiter?.reject(
          Object.assign(new Error(answer.error.message), answer.error.code && { code: answer.error.code }),
        );
      } else {
        waiter?.resolve(answer.result);
      }
    });
    const gone = (error: Error): void => {
      threads.delete(thread);
      for (const waiter of thread.waiting.values()) waiter.reject(error);
      thread.waiting.clear();
    };
    worker.on('error', gone);
    worker.on('exit', () => gone(new Error('a hashing thread ended')));
    threads.add(thread);
    return thread;
  };

  const choose = (): Thread => {
    if (closed) throw new Error('hashing is closed');
    let best: Thread | undefined;
    for (const thread of threads) {
      if (!best || thread.waiting.size < best.waiting.size) best = thread;
    }
    return best && (best.waiting.size === 0 || threads.size >= most) ? best : start();
  };

  const ask = (thread: Thread, job: Job): Promise<JobResult> =>
    new Promise((resolve, reject) => {
      if (!threads.has(thread)) {
        reject(new Error('a hashing thread ended'));
        return;
      }
      const id = nextId++;
      thread.waiting.set(id, { resolve, reject });
      thread.worker.ref();
      thread.worker.postMessage({ id, job } satisfies JobMessage);
    });

  const run = async (job: Job): Promise<JobResult> => ask(choose(), job);

  return {
    hashPieces: async (path, pieceLength) => (await run({ op: 'pieces', path, pieceLength })) as Uint8Array,
    checkPieces: async (path, pieceLength, pieces, which) =>
      (await run({ op: 'check', path, pieceLength, pieces, which })) as readonly boolean[],
    hashLeaves: async (path, leafLength, algorithm) =>
      (await run({ op: 'leaves', path, leafLength, algorithm })) as LeafHashes,
    sha1: async (bytes) => (await run({ op: 'sha1', bytes })) as Uint8Array,
    hashLeavesOf: async (bytes, leafLength) =>
      (await run({ op: 'leaves-of', bytes, leafLength })) as LeafHashes,
    digestFile: async (path, algorithm) => (await run({ op: 'digest', path, algorithm })) as string,
    followDigest(path, algorithm = 'sha256') {
      const thread = choose();
      const follower = nextId++;
      // A failed step ends the follower in its thread; `finish` then rejects and tells the caller.
      const step = (job: Job): Promise<void> =>
        ask(thread, job).then(
          () => undefined,
          () => undefined,
        );
      void step({ op: 'follow', follower, path, algorithm });
      return {
        advance: (upTo) => void step({ op: 'advance', follower, upTo }),
        finish: async (size) => (await ask(thread, { op: 'finish', follower, size })) as string,
        abort: () => step({ op: 'abort', follower }),
      };
    },
    async close() {
      closed = true;
      await Promise.all([...threads].map(({ worker }) => worker.terminate()));
    },
  };
}
