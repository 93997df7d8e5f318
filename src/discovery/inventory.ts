/**
 * Keeps one tracker's copy of our inventory right: the whole list at the start and whenever the
 * tracker does not know us or misses a change, then only what changed, gathered for a moment, and a
 * heartbeat. What is told is numbered, and told again under its number until it is answered, so that
 * a request that was believed lost and comes late changes nothing. One timer, however many blobs are
 * held.
 */
import { Readable } from 'node:stream';
import { z } from 'zod';
import { type Endpoint, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import { formatMultiaddr } from '#multiaddr';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import { backoffMs, createPause } from '#waiting';
import { isReachable, type Self, UNREACHABLE_PORT } from './announce.ts';
import { type JsonBody, jsonWithLists } from './json-body.ts';

export interface InventoryTiming {
  /** How long changes are gathered before they are told. */
  readonly gatherMs: number;
  readonly firstBackoffMs: number;
  readonly mostBackoffMs: number;
  /** For the whole list. */
  readonly answerDeadlineMs: number;
  /** For changes, which are also the heartbeat: two of them and the lease is over. */
  readonly heartbeatDeadlineMs: number;
  /** From one whole list to the next, on average; a tracker that asks for it all the time gets it no faster. */
  readonly resyncMs: number;
}

export const INVENTORY_TIMING: InventoryTiming = {
  gatherMs: 200,
  firstBackoffMs: 1_000,
  mostBackoffMs: 30_000,
  answerDeadlineMs: 30_000,
  heartbeatDeadlineMs: 10_000,
  resyncMs: 5_000,
};

type Changes = Map<InfoHash, 'held' | 'dropped'>;

export interface InventorySync {
  changed(infoHashes: readonly InfoHash[], to: 'held' | 'dropped'): void;
  /** Ends the lease. Bounded by the signal; never rejects. */
  goodbye(signal: AbortSignal): Promise<void>;
}

/** The most that a tracker takes. */
const MAX_BLOBS = 1_000_000;
const MAX_ANSWER_BYTES = 64 * 1024;
/** The tracker does not know us any more, or a change did not come to it. */
const LOST: ReadonlySet<number> = new Set([404, 409]);
const DEFAULT_HEARTBEAT_MS = 30_000;
const lease = z.object({ heartbeatSeconds: z.number().min(0.01).max(3_600) });

export function syncInventory(options: {
  readonly tracker: Endpoint;
  readonly client: HttpClient;
  readonly self: Self;
  /** What we hold now; read whenever the whole list is told. */
  readonly held: ReadonlySet<InfoHash>;
  readonly timing: InventoryTiming;
  readonly log: Logger;
}): InventorySync {
  const { self, held, timing, log } = options;
  const client = endpointClient(options.client, options.tracker);
  const tracker = options.tracker.name;
  const url = `${options.tracker.url}/api/v1/agents/${self.peerId}`;
  const pause = createPause();
  const stop = new AbortController();
  /** Cuts a request that is still under way when goodbye cannot wait longer. */
  const cut = new AbortController();
  /** Changes since the tracker's copy; undefined while it has none. */
  let changes: Changes | undefined;
  /** What was told and not yet answered. */
  let untold: { readonly sequence: number; readonly changes: Changes } | undefined;
  let sequence = 0;
  let toldAllAt = Number.NEGATIVE_INFINITY;
  let heartbeatMs = DEFAULT_HEARTBEAT_MS;
  let reachable = true;

  const send = async (method: 'PUT' | 'PATCH', { bytes, parts }: JsonBody): Promise<number> => {
    const deadlineMs = method === 'PUT' ? timing.answerDeadlineMs : timing.heartbeatDeadlineMs;
    const signal = AbortSignal.any([cut.signal, AbortSignal.timeout(deadlineMs)]);
    const headers = { 'content-type': 'application/json', 'content-length': String(bytes) };
    const body = (): Readable => Readable.from(parts(), { objectMode: false });
    const response = await client.request(url, { method, headers, body, signal });
    const answer = await client.read(response, MAX_ANSWER_BYTES);
    if (method === 'PATCH' && LOST.has(response.status)) return response.status;
    if (response.status !== 200) {
      throw new Error(`${method} answered ${response.status}: ${answer.toString('utf8', 0, 300)}`);
    }
    const given = lease.safeParse(JSON.parse(answer.toString('utf8')));
    if (given.success) heartbeatMs = given.data.heartbeatSeconds * 1000;
    return response.status;
  };

  const tellAll = async (): Promise<void> => {
    changes = new Map();
    untold = undefined;
    sequence += 1;
    const { address, libp2p, zone } = self;
    const blobs = isReachable(self) ? [...held].slice(0, MAX_BLOBS) : [];
    const peer =
      libp2p === undefined || libp2p.port === UNREACHABLE_PORT
        ? undefined
        : formatMultiaddr({ host: address?.host, ...libp2p });
    if (held.size > MAX_BLOBS)
      log.warn({ held: held.size, told: MAX_BLOBS }, 'more blobs than a tracker takes');
    try {
      await send('PUT', jsonWithLists({ ...address, peer, zone, sequence }, { blobs }));
      toldAllAt = performance.now();
    } catch (error) {
      changes = undefined;
      throw error;
    }
  };

  const tellChanges = async (since: Changes): Promise<void> => {
    if (untold === undefined) {
      sequence += 1;
      untold = { sequence, changes: since };
      changes = new Map();
    }
    const told = untold;
    const of = (kind: 'held' | 'dropped'): InfoHash[] =>
      [...told.changes].filter(([, to]) => to === kind).map(([infoHash]) => infoHash);
    const lists = { add: of('held'), remove: of('dropped') };
    const status = await send('PATCH', jsonWithLists({ sequence: told.sequence }, lists));
    untold = undefined;
    if (LOST.has(status)) changes = undefined;
  };

  /** The whole list is due; not sooner than some time after the last one. */
  const restMs = (): number =>
    Math.max(0, toldAllAt + timing.resyncMs * (0.5 + Math.random()) - performance.now());

  const run = async (): Promise<void> => {
    let failures = 0;
    await pause.wait(timing.gatherMs, stop.signal);
    while (!stop.signal.aborted) {
      try {
        if (changes === undefined || changes.size > MAX_BLOBS) {
          await createPause().wait(restMs(), stop.signal);
          if (stop.signal.aborted) return;
          await tellAll();
        } else await tellChanges(changes);
        if (!reachable) log.info({ tracker }, 'the tracker has our inventory again');
        reachable = true;
        failures = 0;
      } catch (error) {
        if (stop.signal.aborted) return;
        failures += 1;
        if (reachable)
          log.warn({ tracker, reason: String(error) }, 'the tracker does not take our inventory');
        reachable = false;
        await createPause().wait(
          backoffMs(failures, timing.firstBackoffMs, timing.mostBackoffMs),
          stop.signal,
        );
        continue;
      }
      if (changes === undefined) continue;
      if (changes.size === 0) await pause.wait(heartbeatMs, stop.signal);
      if (changes.size > 0) await createPause().wait(timing.gatherMs, stop.signal);
    }
  };
  const running = run().catch((error: unknown) => log.error({ err: error }, 'inventory'));

  return {
    changed(infoHashes, to) {
      if (changes === undefined || !isReachable(self)) return;
      for (const infoHash of infoHashes) changes.set(infoHash, to);
      pause.wake();
    },
    async goodbye(signal) {
      stop.abort();
      const impatient = (): void => cut.abort();
      const late = setTimeout(impatient, timing.gatherMs * 5);
      await running;
      clearTimeout(late);
      await client
        .request(url, { method: 'DELETE', signal })
        .then(({ body }) => body.resume())
        .catch((error: unknown) => log.debug({ tracker, reason: String(error) }, 'no goodbye'));
    },
  };
}
