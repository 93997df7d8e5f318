import { createPause } from './pause.ts';

/** A wait of one loop that others may end, also before it begins; never rejects. */
export interface Turnstile {
  /** Until it is opened, or `ms` are over; undefined: only until it is opened. */
  wait(ms: number | undefined, signal: AbortSignal): Promise<void>;
  open(): void;
}

export function createTurnstile(): Turnstile {
  const pause = createPause();
  let isOpen = false;
  return {
    async wait(ms, signal) {
      if (!isOpen) await pause.wait(ms, signal);
      isOpen = false;
    },
    open() {
      isOpen = true;
      pause.wake();
    },
  };
}
