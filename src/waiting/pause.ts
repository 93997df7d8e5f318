/** Resolves after `ms` (undefined: never by itself), or as soon as the signal aborts or `wake` is called; never rejects. */
export interface Pause {
  wait(ms: number | undefined, signal: AbortSignal): Promise<void>;
  wake(): void;
}

export function createPause(): Pause {
  let end: (() => void) | undefined;
  return {
    wait(ms, signal) {
      if (signal.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          signal.removeEventListener('abort', done);
          end = undefined;
          resolve();
        };
        const timer = ms === undefined ? undefined : setTimeout(done, ms);
        signal.addEventListener('abort', done);
        end = done;
      });
    },
    wake: () => end?.(),
  };
}

/**
 * Doubles with each failure up to `mostMs`; the jitter keeps a thousand agents from coming back
 * to a restarted origin in the same moment.
 */
export function backoffMs(failures: number, firstMs: number, mostMs: number): number {
  const full = Math.min(mostMs, firstMs * 2 ** Math.min(failures - 1, 16));
  return full / 2 + (Math.random() * full) / 2;
}
