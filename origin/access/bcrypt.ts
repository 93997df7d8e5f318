/** bcrypt in one thread of its own, started by the first log-in; what waits for it is bounded. */
import { Worker } from 'node:worker_threads';
import type { Compared, Comparison } from './bcrypt-worker.ts';

export interface Bcrypt {
  /** Whether the password has this hash. Undefined: too many comparisons wait already. */
  compare(password: string, hash: string): Promise<boolean> | undefined;
  close(): Promise<void>;
}

/** At htpasswd's default cost some hundred a second are compared; at cost 12 three. */
const MAX_WAITING = 64;

export function createBcrypt(): Bcrypt {
  const waiting = new Map<number, { resolve(equal: boolean): void; reject(error: Error): void }>();
  let worker: Worker | undefined;
  let nextId = 1;
  let closed = false;

  const start = (): Worker => {
    const started = new Worker(new URL('./bcrypt-worker.ts', import.meta.url));
    started.unref();
    started.on('message', ({ id, equal }: Compared) => {
      waiting.get(id)?.resolve(equal);
      waiting.delete(id);
      if (waiting.size === 0 && !closed) started.unref();
    });
    const gone = (error: Error): void => {
      if (worker === started) worker = undefined;
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    };
    started.on('error', gone);
    started.on('exit', () => gone(new Error('the thread that compares passwords ended')));
    return started;
  };

  return {
    compare(password, hash) {
      if (waiting.size >= MAX_WAITING || closed) return undefined;
      worker ??= start();
      const thread = worker;
      const id = nextId++;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        thread.ref();
        thread.postMessage({ id, password, hash } satisfies Comparison);
      });
    },
    async close() {
      closed = true;
      await worker?.terminate();
    },
  };
}
