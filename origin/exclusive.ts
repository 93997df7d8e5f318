/**
 * Runs tasks one after another for each key, and tasks of different keys at the same time.
 * A key costs nothing while no task of it runs.
 */
export interface Exclusive {
  /** Runs `task` when every earlier task of this key has ended; answers with its result. */
  run<T>(key: string, task: () => Promise<T>): Promise<T>;
  /** Resolves when no task is running. */
  settled(): Promise<void>;
}

export function createExclusive(): Exclusive {
  const tails = new Map<string, Promise<unknown>>();
  return {
    run(key, task) {
      const before = tails.get(key) ?? Promise.resolve();
      const result = before.then(task);
      const tail = result
        .catch(() => undefined)
        .then(() => {
          if (tails.get(key) === tail) tails.delete(key);
        });
      tails.set(key, tail);
      return result;
    },
    async settled() {
      while (tails.size > 0) await Promise.all(tails.values());
    },
  };
}
