/** What an upstream said a moment ago that it does not have, or refuses: not asked again at once. */
import { createBoundedMap } from '#bounded';
import type { OciError } from '#oci';

const MAX_KEPT = 10_000;

export interface Absent {
  /** The refusal, or 'unknown'; undefined when nothing is kept. */
  get(key: string): OciError | 'unknown' | undefined;
  keep(key: string, answer: OciError | 'unknown'): void;
  forget(key: string): void;
}

export function createAbsent(keptMs: number): Absent {
  const kept = createBoundedMap<string, { readonly answer: OciError | 'unknown'; readonly until: number }>(
    MAX_KEPT,
  );
  return {
    get(key) {
      const found = kept.get(key);
      if (found === undefined || found.until > performance.now()) return found?.answer;
      kept.delete(key);
      return undefined;
    },
    keep: (key, answer) => kept.set(key, { answer, until: performance.now() + keptMs }),
    forget: kept.delete,
  };
}
