/**
 * The list while it changes. A name is resolved again each half minute, sooner when somebody doubts it, and keeps the addresses
 * that it had while it cannot be resolved. An address that two answers in a row lack is dropped: two name servers that differ,
 * or one that answers with a part, would otherwise end and begin conversations all the time.
 */
import type { Logger } from '#telemetry';
import { backoffMs, createTurnstile, type Turnstile } from '#waiting';
import {
  addressesOf,
  type Endpoint,
  endpointAt,
  type Lookup,
  lookUp,
  MAX_ADDRESSES,
  readSource,
  type Source,
} from './endpoint.ts';

/** What was begun for each server, in the order of the list. */
export interface Each<T extends object> {
  values(): readonly T[];
}

export interface Endpoints {
  /** In the order of the list, the addresses of a name sorted. */
  current(): readonly Endpoint[];
  /** Begins something for each server that there is or comes, and ends it when the server is gone from the list; not at `close`. */
  each<T extends object>(
    begin: (endpoint: Endpoint) => T,
    end: (value: T, endpoint: Endpoint) => unknown,
  ): Each<T>;
  /** One could not be reached: its name may have other addresses by now. */
  doubt(endpoint: Endpoint): void;
  /** URLs whose name has no address yet. */
  unresolved(): readonly string[];
  /** Why there is no server at all, in words; undefined: there is one. */
  problem(): string | undefined;
  /** When every name was asked for once, or `signal` aborts. */
  resolved(signal: AbortSignal): Promise<void>;
  close(): void;
}

export interface FollowOptions {
  readonly log: Logger;
  /** From one question for a name to the next, give or take a fifth. Default half a minute. */
  readonly refreshMs?: number | undefined;
  readonly lookup?: Lookup | undefined;
}

const REFRESH_MS = 30_000;
const MIN_REFRESH_MS = 100;
/** However often a name is doubted. */
const LEAST_MS = 5_000;
const FIRST_BACKOFF_MS = 500;
/** Answers in a row that lack an address before it is dropped. */
const MISSES = 2;

/** An entry of the list: its servers, by how many answers in a row lacked them. */
interface Entry extends Source {
  readonly misses: Map<Endpoint, number>;
  readonly doubts: Turnstile;
  failure: string | undefined;
}

/** Servers that stay as they are. */
export function fixedEndpoints(urls: readonly string[]): Endpoints {
  const endpoints = urls.map((url) => endpointAt(readSource(url).url));
  return {
    current: () => endpoints,
    each(begin) {
      const values = endpoints.map(begin);
      return { values: () => values };
    },
    doubt: () => undefined,
    unresolved: () => [],
    problem: () => undefined,
    resolved: async () => undefined,
    close: () => undefined,
  };
}

export function followEndpoints(urls: readonly string[], options: FollowOptions): Endpoints {
  const { log, lookup = lookUp } = options;
  const refreshMs = Math.max(MIN_REFRESH_MS, options.refreshMs ?? REFRESH_MS);
  const entries = urls.map(readSource).map((source): Entry => {
    const known = source.host === undefined ? [[endpointAt(source.url), 0] as const] : [];
    return { ...source, misses: new Map(known), doubts: createTurnstile(), failure: undefined };
  });
  if (entries.every(({ host }) => host === undefined)) return fixedEndpoints(urls);

  const stop = new AbortController();
  const followers = new Set<{ added(endpoint: Endpoint): void; removed(endpoint: Endpoint): void }>();
  const tell = (change: 'added' | 'removed', endpoint: Endpoint): void => {
    for (const follower of followers) {
      try {
        follower[change](endpoint);
      } catch (error) {
        log.error({ err: error, server: endpoint.name }, 'a change of servers was not followed');
      }
    }
  };

  let list: readonly Endpoint[] = [];
  const arrange = (): void => {
    list = entries.flatMap(({ misses }) => [...misses.keys()].sort((a, b) => (a.name < b.name ? -1 : 1)));
  };
  arrange();

  const take = (entry: Entry, answer: Awaited<ReturnType<Lookup>>): void => {
    const addresses = new Set(addressesOf(answer));
    for (const [endpoint, misses] of entry.misses) {
      const { address = '' } = endpoint;
      if (addresses.delete(address)) entry.misses.set(endpoint, 0);
      else if (misses + 1 < MISSES) entry.misses.set(endpoint, misses + 1);
      else {
        entry.misses.delete(endpoint);
        arrange();
        log.info({ host: entry.host, address }, 'the name has lost an address');
        tell('removed', endpoint);
      }
    }
    for (const address of addresses) {
      if (entry.misses.size >= MAX_ADDRESSES) break;
      const endpoint = endpointAt(entry.url, address);
      entry.misses.set(endpoint, 0);
      arrange();
      log.info({ host: entry.host, address }, 'the name has an address');
      tell('added', endpoint);
    }
  };

  const follow = async (entry: Entry, host: string, asked: () => void): Promise<void> => {
    let failures = 0;
    while (!stop.signal.aborted) {
      try {
        const answer = await lookup(host);
        if (stop.signal.aborted) return;
        if (answer.length === 0) throw new Error('it has no address');
        if (failures > 0) log.info({ host }, 'the name is resolved again');
        entry.failure = undefined;
        failures = 0;
        take(entry, answer);
      } catch (error) {
        if (stop.signal.aborted) return;
        failures += 1;
        entry.failure = `the name ${host} cannot be resolved: ${reasonOf(error)}`;
        const kept = entry.misses.size;
        if (failures === 1) log.warn({ host, kept, reason: reasonOf(error) }, 'a name cannot be resolved');
      }
      asked();
      const calm = refreshMs * (0.8 + 0.4 * Math.random());
      const waitMs = failures > 0 ? backoffMs(failures, FIRST_BACKOFF_MS, refreshMs) : calm;
      const leastMs = failures > 0 ? waitMs : Math.min(LEAST_MS, waitMs);
      await createTurnstile().wait(leastMs, stop.signal);
      await entry.doubts.wait(waitMs - leastMs, stop.signal);
    }
  };
  const firsts = entries.map((entry) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (entry.host === undefined) resolve();
    else void follow(entry, entry.host, resolve);
    return promise;
  });

  return {
    current: () => list,
    each<T extends object>(begin: (endpoint: Endpoint) => T, end: (value: T, endpoint: Endpoint) => unknown) {
      const begun = new Map<Endpoint, T>();
      followers.add({
        added: (endpoint) => void begun.set(endpoint, begin(endpoint)),
        removed(endpoint) {
          const value = begun.get(endpoint);
          if (!begun.delete(endpoint)) return;
          void end(value as T, endpoint);
        },
      });
      for (const endpoint of list) begun.set(endpoint, begin(endpoint));
      return { values: () => list.flatMap((endpoint) => begun.get(endpoint) ?? []) };
    },
    doubt: ({ url, address }) => {
      if (address === undefined) return;
      for (const entry of entries) if (entry.host !== undefined && entry.url === url) entry.doubts.open();
    },
    unresolved: () => entries.filter(({ misses }) => misses.size === 0).map(({ url }) => url),
    problem() {
      if (entries.some(({ misses }) => misses.size > 0)) return undefined;
      const failure = entries.map((entry) => entry.failure).find((each) => each !== undefined);
      return failure ?? 'the names of the servers are not resolved yet';
    },
    async resolved(signal) {
      const gone = new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      if (!signal.aborted) await Promise.race([Promise.all(firsts), gone]);
    },
    close: () => stop.abort(),
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
