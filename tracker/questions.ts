/**
 * Questions to an origin. What it said is remembered for a short while, each question is asked once
 * however many wait for it, and their number is bounded, so that announces for random infohashes and
 * passkeys cost the origin little.
 */

/** The answer is not known; trying again later makes sense. */
export class AdmissionError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'AdmissionError';
  }
}

export interface Questions<A> {
  /** @throws AdmissionError when the origin cannot be asked now */
  ask(key: string): Promise<A>;
  forget(key: string): void;
}

const REMEMBERED = 50_000;
/** Questions to the origin at the same time, and announces that wait for one. */
const MAX_ASKING = 64;
const MAX_WAITING = 4_096;
/** For the origins, and for the names in their answer. */
const DEADLINE_MS = 7_000;

export function createQuestions<A>(options: {
  /** Asks the origin. Rejects when it cannot be said now; `signal` aborts after a deadline. */
  readonly answer: (key: string, signal: AbortSignal) => Promise<A>;
  /** How long this answer is remembered. */
  readonly knownMs: (answer: A) => number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Questions<A> {
  const { answer, knownMs, now } = options;
  const remembered = new Map<string, { readonly said: A; readonly until: number }>();
  const asking = new Map<string, Promise<A>>();
  let waiting = 0;

  const find = async (key: string): Promise<A> => {
    const given = new AbortController();
    const said = await withDeadline(answer(key, given.signal), DEADLINE_MS).catch((error: unknown) => {
      given.abort();
      throw new AdmissionError('the origin cannot be asked now; try again', error);
    });
    if (remembered.size >= REMEMBERED) {
      const [oldest] = remembered.keys();
      if (oldest !== undefined) remembered.delete(oldest);
    }
    remembered.set(key, { said, until: now() + knownMs(said) });
    return said;
  };

  return {
    async ask(key) {
      const known = remembered.get(key);
      if (known && known.until > now()) return known.said;
      if (waiting >= MAX_WAITING) throw new AdmissionError('too many announces at once; try again');
      let found = asking.get(key);
      if (found === undefined) {
        if (asking.size >= MAX_ASKING) throw new AdmissionError('too many unknown blobs at once; try again');
        remembered.delete(key);
        found = find(key).finally(() => asking.delete(key));
        asking.set(key, found);
      }
      waiting += 1;
      return found.finally(() => {
        waiting -= 1;
      });
    },
    forget: (key) => void remembered.delete(key),
  };
}

/** The answer, or a rejection after `ms`. */
export function withDeadline<T>(work: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
    work.then(resolve, reject).finally(() => clearTimeout(late));
  });
}
