/**
 * Whether the origins let everybody pull. Only an origin that says so itself counts as open
 * (`Shoal-Access: open` on `GET /v2/` without credentials), and with several origins all must be:
 * what one of them guards may be in the cache beside what another gives to everybody.
 *
 * The answer is kept, also over restarts, because an open cluster must go on while its origin is
 * out. It is asked for anew once in a while, and when an origin refused something.
 */
import type { Level } from 'level';
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';

export interface Openness {
  /** Waits for the origins only when nothing recent is known, and not for long. Never rejects. */
  open(): Promise<boolean>;
  /** An origin refused something: what is known may be over. */
  doubt(): void;
  /** Whether every origin is open as far as is known; asks nobody. */
  openNow(): boolean;
  /** What is known, for status pages: undefined before the first answer. */
  known(url: string): boolean | undefined;
}

interface Known {
  open: boolean | undefined;
  /** Of the monotonic clock. */
  askedAt: number;
  answered: boolean;
  asking: Promise<void> | undefined;
}

const ANSWER_DEADLINE_MS = 2_000;
const ASK_AGAIN_MS = 60_000;
const RETRY_MS = 5_000;
const MAX_ANSWER_BYTES = 64 * 1024;

export async function createOpenness(options: {
  readonly origins: readonly string[];
  /** Without credentials. */
  readonly http: HttpClient;
  readonly db: Level<string, Uint8Array>;
  readonly log: Logger;
}): Promise<Openness> {
  const { http, log } = options;
  const urls = options.origins.map((url) => url.replace(/\/+$/, ''));
  const kept = options.db.sublevel<string, boolean>('open-origins', { valueEncoding: 'json' });
  const origins = new Map<string, Known>();
  for (const url of urls) {
    const open = await kept.get(url);
    origins.set(url, { open, askedAt: Number.NEGATIVE_INFINITY, answered: false, asking: undefined });
  }

  async function ask(url: string, origin: Known): Promise<void> {
    origin.askedAt = performance.now();
    try {
      const response = await http.request(`${url}/v2/`, { signal: AbortSignal.timeout(ANSWER_DEADLINE_MS) });
      await http.read(response, MAX_ANSWER_BYTES).catch(() => undefined);
      // A state that passes says nothing about rights.
      if (response.status >= 500 || response.status === 408 || response.status === 429) {
        throw new Error(`it answered ${response.status}`);
      }
      // 404: a tracker that runs alone has nothing that needs a right.
      const answered = response.status === 200 || response.status === 404;
      const open = answered && response.headers['shoal-access'] === 'open';
      origin.answered = true;
      if (open === origin.open) return;
      origin.open = open;
      log.info(
        { origin: url, open },
        open ? 'everybody may pull from this origin' : 'this origin has rights',
      );
      await kept.put(url, open);
    } catch (error) {
      origin.answered = false;
      log.debug({ origin: url, err: error }, 'whether this origin is open was not learnt');
    }
  }

  /** What to wait for before what is known of this origin can be used; undefined: nothing. */
  function refresh(url: string, origin: Known): Promise<void> | undefined {
    const age = performance.now() - origin.askedAt;
    if (age < (origin.answered ? ASK_AGAIN_MS : RETRY_MS)) {
      return origin.open === undefined ? origin.asking : undefined;
    }
    const before = origin.answered || age === Number.POSITIVE_INFINITY;
    origin.asking ??= ask(url, origin).finally(() => {
      origin.asking = undefined;
    });
    // Of one that did not answer lately nobody waits to hear that it still does not.
    return before || origin.open === undefined ? origin.asking : undefined;
  }

  const openNow = (): boolean => [...origins.values()].every((origin) => origin.open === true);

  return {
    async open() {
      const waits = [...origins].map(([url, origin]) => refresh(url, origin));
      if (waits.some((wait) => wait !== undefined)) await Promise.all(waits);
      return openNow();
    },
    doubt() {
      for (const origin of origins.values()) if (origin.open) origin.askedAt = Number.NEGATIVE_INFINITY;
    },
    openNow,
    known: (url) => origins.get(url.replace(/\/+$/, ''))?.open,
  };
}
