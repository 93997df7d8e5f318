/**
 * Whether the origins let everybody pull. Only an origin that says so itself counts as open
 * (`Shoal-Access: open` on `GET /v2/` without credentials), and with several origins all must be:
 * what one of them guards may be in the cache beside what another gives to everybody.
 *
 * The answer is kept, also over restarts, because an open cluster must go on while its origin is
 * out. It is asked for anew once in a while, and when an origin refused something.
 */
import type { Level } from 'level';
import { type Endpoint, type Endpoints, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';

export interface Openness {
  /** Waits for the origins only when nothing recent is known, and not for long. Never rejects. */
  open(): Promise<boolean>;
  /** An origin refused something: what is known may be over. */
  doubt(): void;
  /** Whether every origin is open as far as is known; asks nobody. */
  openNow(): boolean;
  /** What is known of the origin of this name, for status pages: undefined before the first answer. */
  known(name: string): boolean | undefined;
}

interface Known {
  readonly endpoint: Endpoint;
  open: boolean | undefined;
  /** Of the monotonic clock. */
  askedAt: number;
  answered: boolean;
  asking: Promise<void> | undefined;
}

const ANSWER_DEADLINE_MS = 2_000;
const ASK_AGAIN_MS = 60_000;
const RETRY_MS = 5_000;
/** URLs, those of earlier configurations included. */
const MOST_KEPT = 1_000;
const MAX_ANSWER_BYTES = 64 * 1024;

export async function createOpenness(options: {
  readonly origins: Endpoints;
  /** Without credentials. */
  readonly http: HttpClient;
  readonly db: Level<string, Uint8Array>;
  readonly log: Logger;
}): Promise<Openness> {
  const { http, log } = options;
  const kept = options.db.sublevel<string, boolean>('open-origins', { valueEncoding: 'json' });
  /** What was last known of the origins of a URL: all of its addresses were open. */
  const before = new Map(await kept.iterator({ limit: MOST_KEPT }).all());
  const origins = options.origins.each(
    (endpoint): Known => ({
      ...{ endpoint, open: before.get(endpoint.url), answered: false, asking: undefined },
      askedAt: Number.NEGATIVE_INFINITY,
    }),
    () => undefined,
  );

  async function ask(origin: Known): Promise<void> {
    const { url, name } = origin.endpoint;
    origin.askedAt = performance.now();
    try {
      const client = endpointClient(http, origin.endpoint);
      const response = await client.request(`${url}/v2/`, {
        signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
      });
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
        { origin: name, open },
        open ? 'everybody may pull from this origin' : 'this origin has rights',
      );
      const behind = origins.values().filter(({ endpoint }) => endpoint.url === url);
      const all = behind.every((each) => each.open === true);
      before.set(url, all);
      await kept.put(url, all);
    } catch (error) {
      origin.answered = false;
      log.debug({ origin: name, err: error }, 'whether this origin is open was not learnt');
    }
  }

  /** What to wait for before what is known of this origin can be used; undefined: nothing. */
  function refresh(origin: Known): Promise<void> | undefined {
    const age = performance.now() - origin.askedAt;
    if (age < (origin.answered ? ASK_AGAIN_MS : RETRY_MS)) {
      return origin.open === undefined ? origin.asking : undefined;
    }
    const patient = origin.answered || age === Number.POSITIVE_INFINITY;
    origin.asking ??= ask(origin).finally(() => {
      origin.asking = undefined;
    });
    // Of one that did not answer lately nobody waits to hear that it still does not.
    return patient || origin.open === undefined ? origin.asking : undefined;
  }

  /** Of a name that could not be resolved yet counts what was known before. */
  const openNow = (): boolean =>
    origins.values().every(({ open }) => open === true) &&
    options.origins.unresolved().every((url) => before.get(url) === true);

  return {
    async open() {
      const waits = origins.values().map(refresh);
      if (waits.some((wait) => wait !== undefined)) await Promise.all(waits);
      return openNow();
    },
    doubt() {
      for (const origin of origins.values()) if (origin.open) origin.askedAt = Number.NEGATIVE_INFINITY;
    },
    openNow,
    known: (name) => origins.values().find(({ endpoint }) => endpoint.name === name)?.open,
  };
}
