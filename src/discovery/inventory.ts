/**
 * Keeps one tracker's copy of our inventory right: the whole list at the start and whenever the
 * tracker does not know us, then only what changed, gathered for a moment, and a heartbeat. One
 * timer, however many blobs are held.
 */
import { Readable } from 'node:stream';
import { z } from 'zod';
import type { HttpClient } from '#http';
import { formatMultiaddr } from '#multiaddr';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import { isReachable, type Self, UNREACHABLE_PORT } from './announce.ts';
import { type JsonBody, jsonWithLists } from './json-body.ts';
import { backoffMs, createPause } from './pause.ts';

export interface InventoryTiming {
  /** How long changes are gathered before they are told. */
  readonly gatherMs: number;
  readonly firstBackoffMs: number;
  readonly mostBackoffMs: number;
  readonly answerDeadlineMs: number;
}

export const INVENTORY_TIMING: InventoryTiming = {
  gatherMs: 200,
  firstBackoffMs: 1_000,
  mostBackoffMs: 30_000,
  answerDeadlineMs: 30_000,
};

export interface InventorySync {
  changed(infoHashes: readonly InfoHash[], to: 'held' | 'dropped'): void;
  /** Ends the lease. Bounded by the signal; never rejects. */
  goodbye(signal: AbortSignal): Promise<void>;
}

/** The most that a tracker takes. */
const MAX_BLOBS = 1_000_000;
const MAX_ANSWER_BYTES = 64 * 1024;
const DEFAULT_HEARTBEAT_MS = 30_000;
const lease = z.object({ heartbeatSeconds: z.number().min(0.01).max(3_600) });

export function syncInventory(options: {
  /** The tracker's base URL. */
  readonly tracker: string;
  readonly client: HttpClient;
  readonly self: Self;
  /** What we hold now; read whenever the whole list is told. */
  readonly held: ReadonlySet<InfoHash>;
  readonly timing: InventoryTiming;
  readonly log: Logger;
}): InventorySync {
  const { tracker, client, self, held, timing, log } = options;
  const url = `${tracker.replace(/\/+$/, '')}/api/v1/agents/${self.peerId}`;
  const pause = createPause();
  const stop = new AbortController();
  /** Cuts a request that is still under way when goodbye cannot wait longer. */
  const cut = new AbortController();
  /** Changes since the tracker's copy; undefined while it has none. */
  let changes: Map<InfoHash, 'held' | 'dropped'> | undefined;
  let heartbeatMs = DEFAULT_HEARTBEAT_MS;
  let reachable = true;

  const send = async (method: 'PUT' | 'PATCH', { bytes, parts }: JsonBody): Promise<number> => {
    const signal = AbortSignal.any([cut.signal, AbortSignal.timeout(timing.answerDeadlineMs)]);
    const headers = { 'content-type': 'application/json', 'content-length': String(bytes) };
    const body = (): Readable => Readable.from(parts(), { objectMode: false });
    const response = await client.request(url, { method, headers, body, signal });
    const answer = await client.read(response, MAX_ANSWER_BYTES);
    if (response.status === 404 && method === 'PATCH') return response.status;
    if (response.status !== 200) {
      throw new Error(`${method} answered ${response.status}: ${answer.toString('utf8', 0, 300)}`);
    }
    const given = lease.safeParse(JSON.parse(answer.toString('utf8')));
    if (given.success) heartbeatMs = given.data.heartbeatSeconds * 1000;
    return response.status;
  };

  const tellAll = async (): Promise<void> => {
    const since = new Map<InfoHash, 'held' | 'dropped'>();
    changes = since;
    const { address, libp2p, zone } = self;
    const blobs = isReachable(self) ? [...held].slice(0, MAX_BLOBS) : [];
    const peer =
      libp2p === undefined || libp2p.port === UNREACHABLE_PORT
        ? undefined
        : formatMultiaddr({ host: address?.host, ...libp2p });
    if (held.size > MAX_BLOBS)
      log.warn({ held: held.size, told: MAX_BLOBS }, 'more blobs than a tracker takes');
    try {
      await send('PUT', jsonWithLists({ ...address, peer, zone }, { blobs }));
    } catch (error) {
      changes = undefined;
      throw error;
    }
  };

  const tellChanges = async (told: Map<InfoHash, 'held' | 'dropped'>): Promise<void> => {
    const since = new Map<InfoHash, 'held' | 'dropped'>();
    changes = since;
    const of = (kind: 'held' | 'dropped'): InfoHash[] =>
      [...told].filter(([, to]) => to === kind).map(([infoHash]) => infoHash);
    try {
      const status = await send('PATCH', jsonWithLists({}, { add: of('held'), remove: of('dropped') }));
      if (status === 404) changes = undefined;
    } catch (error) {
      changes = new Map([...told, ...since]);
      throw error;
    }
  };

  const run = async (): Promise<void> => {
    let failures = 0;
    await pause.wait(timing.gatherMs, stop.signal);
    while (!stop.signal.aborted) {
      try {
        if (changes === undefined || changes.size > MAX_BLOBS) await tellAll();
        else await tellChanges(changes);
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
