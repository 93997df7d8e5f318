/** One answer of the API in a component; the one before stays until the next is here. */
import { useEffect, useState } from 'preact/hooks';
import { describe } from './live.ts';

export interface Asked<T> {
  readonly value: T | undefined;
  readonly problem: string | undefined;
}

/** `turn`: another number asks again. */
export function useJson<T>(path: string, turn: number | string = 0): Asked<T> {
  const [asked, setAsked] = useState<Asked<T>>({ value: undefined, problem: undefined });
  useEffect(() => {
    const stop = new AbortController();
    const ask = async (): Promise<void> => {
      try {
        const answer = await fetch(path, { signal: stop.signal });
        if (answer.ok) setAsked({ value: (await answer.json()) as T, problem: undefined });
        else setAsked({ value: undefined, problem: await describe(answer) });
      } catch {
        if (!stop.signal.aborted)
          setAsked((before) => ({ ...before, problem: 'the origin cannot be reached' }));
      }
    };
    void ask();
    return () => stop.abort();
  }, [path, turn]);
  return asked;
}
