/** At most so many at once; who comes later waits in line. */
export interface Slots {
  /** Resolves with the function that gives the slot back; to be called once. */
  take(): Promise<() => void>;
}

export function createSlots(count: number): Slots {
  const line: (() => void)[] = [];
  let free = count;

  const giveBack = (): void => {
    const next = line.shift();
    if (next) next();
    else free += 1;
  };

  return {
    async take() {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => line.push(resolve));
      return giveBack;
    },
  };
}
