/** Waits of a loop that others may end early; never rejects. */
export interface Turnstile {
  /** Until it is opened, or `ms` are over; undefined: only until it is opened. */
  wait(ms: number | undefined, signal: AbortSignal): Promise<void>;
  /** Only time ends it, or the signal. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
  open(): void;
}

export function createTurnstile(): Turnstile {
  let isOpen = false;
  let pass: (() => void) | undefined;

  function rest(
    ms: number | undefined,
    signal: AbortSignal,
    onWait: (done: () => void) => void,
  ): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = ms === undefined ? undefined : setTimeout(done, ms);
      signal.addEventListener('abort', done, { once: true });
      onWait(done);
    });
  }

  return {
    async wait(ms, signal) {
      if (!isOpen) {
        await rest(ms, signal, (done) => {
          pass = done;
        });
      }
      pass = undefined;
      isOpen = false;
    },
    pause: (ms, signal) => rest(ms, signal, () => undefined),
    open() {
      isOpen = true;
      pass?.();
    },
  };
}
