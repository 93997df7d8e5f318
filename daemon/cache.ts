/**
 * The cache's budget. What counts against it: complete blobs, downloads that run with all of their length, and the
 * pieces of those that ended early. It is never exceeded, except by a single blob that is larger than the whole
 * cache. Who needs room waits for it: first pieces go that nobody went on with, then blobs (eviction.ts says which), but never
 * one that a client reads or a download writes, nor a pinned one; one that members fetch from here only when a client would be
 * refused otherwise. A blob that leaves is first forgotten by the tracker and the swarm, then deleted; killed in
 * between, it is still whole and counted.
 */
import type { DownloadStore } from '#blobs';
import { createBoundedMap } from '#bounded';
import type { Discovery } from '#discovery';
import type { Digest } from '#oci';
import type { Swarm } from '#swarm';
import type { Logger } from '#telemetry';
import type { InfoHash, MetainfoCatalog } from '#torrent';
import { busy } from './crowd.ts';
import { type Candidate, chooseVictims } from './eviction.ts';
import type { AgentMetrics } from './metrics.ts';
import type { Pins } from './pins.ts';
import type { Unfinished } from './unfinished.ts';

/** Room for one blob that is being fetched. */
export interface Room {
  /** The blob is in the store, which counts it from now on. */
  complete(): void;
  /** Ends the claim; `leftBytes` of pieces stay on disk. */
  release(leftBytes: number): void;
}

export interface Cache {
  /** Keeps a blob in the cache until the returned function is called; it was used until then. */
  use(digest: Digest): () => void;
  inUse(digest: Digest): boolean;
  /** When it was used last in this run. */
  usedAt(digest: Digest): number | undefined;
  /**
   * Makes room for a blob that is about to be fetched.
   * @throws OciError UNAVAILABLE when blobs in use leave no room for long
   */
  reserve(digest: Digest, bytes: number): Promise<Room>;
  /** Brings the cache below its limit in the background. */
  trim(): void;
  /**
   * The disk is full: evicts until this much is free. False when even an empty cache would not make
   * so much room; then nothing is evicted.
   */
  makeRoom(bytes: number): Promise<boolean>;
  /** Removes a blob now. 'missing', or why it stays. */
  remove(digest: Digest): Promise<'removed' | 'missing' | 'pinned' | 'in-use'>;
  /** This blob is not here any more, and nobody is to blame. */
  gone(digest: Digest): Promise<void>;
  /** The store set this blob aside because its file had changed: it is no longer ours to seed. */
  lost(digest: Digest): Promise<void>;
  /** All that counts against the limit, in bytes. */
  countedBytes(): number;
  close(): Promise<void>;
}

/** Evicting goes on to this share of the limit, so that it does not run for every blob. */
const LOW_WATER = 0.95;
/** The share of what may go that last copies in the zone may keep for themselves. */
const KEPT_BACK = 0.5;
/** How many of the longest unused the tracker is asked about at a time. */
const ASKED_ABOUT = 1_000;
/** A client gets its answer's head within 30 s (containerd), or is told before. */
const WAIT_FOR_ROOM_MS = 20_000;
/** So long others are waited for before what members fetch from here goes: these have other sources, a client has not. */
const SPARING_MS = 3_000;
/** A blob beyond these has the time that its record has. */
const REMEMBERED_USES = 200_000;
/** Others fill the disk too. */
const FLOOR_CHECK_MS = 30_000;

export function createCache(options: {
  readonly store: DownloadStore;
  readonly catalog: MetainfoCatalog;
  readonly swarm: Swarm;
  readonly discovery: Discovery;
  readonly unfinished: Unfinished;
  readonly pins: Pins;
  /** How many other agents of the zone hold these; undefined when no tracker says it. */
  readonly othersHolding: (
    infoHashes: readonly InfoHash[],
  ) => Promise<ReadonlyMap<InfoHash, number> | undefined>;
  /** Bytes that the disk has free. */
  readonly freeBytes: () => Promise<number>;
  /** Undefined: only the disk is the limit. */
  readonly limitBytes: number | undefined;
  /** The cache gives way while less than this is free. */
  readonly floorBytes: number;
  readonly waitForRoomMs?: number | undefined;
  /** The store has counted its blobs and discovery knows them: what is evicted before would be told afterwards. */
  readonly ready: Promise<unknown>;
  /** Nobody uses this blob any more. */
  readonly onIdle?: ((digest: Digest) => void) | undefined;
  readonly metrics: Pick<AgentMetrics, 'evicted'>;
  readonly log: Logger;
}): Cache {
  const { store, catalog, swarm, discovery, unfinished, pins, log, limitBytes, floorBytes } = options;
  const waitForRoomMs = options.waitForRoomMs ?? WAIT_FOR_ROOM_MS;
  const uses = new Map<Digest, number>();
  /** Finer than the store's; of blobs that are here and were used in this run. */
  const usedAt = createBoundedMap<Digest, number>(REMEMBERED_USES);
  const claims = new Map<object, number>();
  /** Pieces of downloads that do not run. */
  const leftovers = new Map<Digest, number>();
  let closing = false;
  /** Evictions run one after another, so that two do not free the same bytes. */
  let last: Promise<unknown> = Promise.resolve();
  /** Who waits for room is served in turn. */
  let admission: Promise<unknown> = Promise.resolve();
  let wake = Promise.withResolvers<void>();

  const ready = options.ready.then(async () => {
    for (const digest of await unfinished.pending()) {
      if (!unfinished.isRunning(digest)) leftovers.set(digest, await store.partialBytes(digest));
    }
  });
  ready.catch((error: unknown) => log.error({ err: error }, 'the cache was not counted whole'));

  const sum = (values: Iterable<number>): number => {
    let total = 0;
    for (const value of values) total += value;
    return total;
  };
  const countedBytes = (): number => store.totals().bytes + sum(claims.values()) + sum(leftovers.values());

  /** Somebody let go of something. */
  function changed(): void {
    wake.resolve();
    wake = Promise.withResolvers();
  }

  function inTurn<T>(task: () => Promise<T>): Promise<T> {
    const turn = last.then(task);
    last = turn.catch(() => undefined);
    return turn;
  }

  async function forget(digest: Digest): Promise<void> {
    usedAt.delete(digest);
    const metainfo = await catalog.get(digest);
    if (!metainfo) return;
    discovery.drop([metainfo.infoHash]);
    await catalog.delete(digest);
    await swarm.release(metainfo.infoHash, digest);
  }

  const mayGo = (digest: Digest): boolean => !uses.has(digest) && !pins.has(digest);

  /** What may go, as far as it is known without asking; the longest unused first. */
  async function candidates(): Promise<Omit<Candidate, 'others'>[]> {
    const found: Omit<Candidate, 'others'>[] = [];
    for await (const { digest, size, lastUsedAt, outside } of store.list()) {
      // Another program's file: its going would free nothing here.
      if (outside || !mayGo(digest)) continue;
      found.push({ digest, bytes: size, usedAt: Math.max(lastUsedAt, usedAt.get(digest) ?? 0) });
    }
    return found.sort((a, b) => a.usedAt - b.usedAt);
  }

  /** With what the swarm and the tracker know of the longest unused. `sparing`: without those that members fetch now. */
  async function weighed(sparing: boolean): Promise<Candidate[]> {
    const found = await candidates();
    const fetching = swarm.peers().filter(({ interested }) => interested);
    const serving = new Set(fetching.map(({ infoHash }) => infoHash));
    const names = new Map<Digest, InfoHash>();
    for (const { digest } of found.slice(0, ASKED_ABOUT)) {
      const metainfo = await catalog.get(digest);
      if (metainfo) names.set(digest, metainfo.infoHash);
    }
    const others = names.size > 0 ? await options.othersHolding([...names.values()]) : undefined;
    return found.flatMap((candidate) => {
      const infoHash = names.get(candidate.digest);
      if (infoHash === undefined) return { ...candidate, others: undefined };
      if (sparing && serving.has(infoHash)) return [];
      return { ...candidate, others: others?.get(infoHash) };
    });
  }

  /** Frees at least `bytes` from complete blobs, as far as they may go. Answers what was freed. */
  async function evict(bytes: number, why: 'size' | 'disk', sparing: boolean): Promise<number> {
    if (bytes <= 0 || closing) return 0;
    const found = await weighed(sparing);
    const victims = chooseVictims(found, bytes, sum(found.map((one) => one.bytes)) * KEPT_BACK);
    let freed = 0;
    let count = 0;
    for (const { digest, bytes: size, others } of victims) {
      if (closing) break;
      // Somebody may have come to it while others were deleted.
      if (!mayGo(digest)) continue;
      await forget(digest);
      await store.delete(digest);
      options.metrics.evicted(why, others, size);
      freed += size;
      count += 1;
    }
    if (count > 0) log.info({ blobs: count, bytes: freed, why }, 'evicted from the cache');
    return freed;
  }

  async function dropLeftovers(): Promise<void> {
    if (leftovers.size === 0) return;
    await unfinished.dropAbandoned(0);
    for (const digest of [...leftovers.keys()]) {
      const bytes = await store.partialBytes(digest);
      if (bytes === 0) leftovers.delete(digest);
      else if (leftovers.has(digest)) leftovers.set(digest, bytes);
    }
  }

  /** Tries to get the cache to where `more` bytes fit its limit, and the disk to where they leave the floor free. */
  async function giveWay(more: number, sparing: boolean): Promise<void> {
    const shortOfDisk = async (): Promise<number> =>
      floorBytes > 0 ? floorBytes + more - (await options.freeBytes()) : 0;
    // Without a limit nobody waits until 100,000 blobs are counted.
    if (limitBytes === undefined && (await shortOfDisk()) <= 0) return;
    await ready;
    if (limitBytes !== undefined && countedBytes() + more > limitBytes) {
      await dropLeftovers();
      const wanted = countedBytes() + more;
      if (wanted > limitBytes) await evict(wanted - limitBytes * LOW_WATER, 'size', sparing);
    }
    const short = await shortOfDisk();
    if (short <= 0) return;
    // What would not fit an empty disk either is left to the disk to refuse: nothing goes for it.
    if (more > 0 && short > sum((await candidates()).map((one) => one.bytes))) return;
    await evict(short, 'disk', sparing);
  }

  const fits = (bytes: number): boolean => limitBytes === undefined || countedBytes() + bytes <= limitBytes;

  /** Gives way until it fits. False: what is in use leaves no room, for as long as a client may wait. */
  async function waitForRoom(digest: Digest, size: number, bytes: number): Promise<boolean> {
    const deadline = AbortSignal.timeout(waitForRoomMs);
    const patience = AbortSignal.timeout(Math.min(SPARING_MS, waitForRoomMs));
    for (;;) {
      const before = wake.promise;
      await inTurn(() => giveWay(bytes, !patience.aborted));
      if (fits(bytes)) return true;
      if (limitBytes !== undefined && size > limitBytes) {
        log.warn({ digest, size, limitBytes }, 'a blob is larger than the whole cache (cache.size)');
        return true;
      }
      if (deadline.aborted || closing) return false;
      await Promise.race([before, aborted(patience.aborted ? deadline : patience)]);
    }
  }

  const trimNow = (): Promise<void> => giveWay(0, true);
  const trim = (): void => {
    inTurn(trimNow).catch((error: unknown) => log.error({ err: error }, 'eviction failed'));
  };
  const watch = floorBytes > 0 ? setInterval(trim, FLOOR_CHECK_MS).unref() : undefined;

  return {
    use(digest) {
      uses.set(digest, (uses.get(digest) ?? 0) + 1);
      let held = true;
      return () => {
        if (!held) return;
        held = false;
        const left = (uses.get(digest) ?? 1) - 1;
        usedAt.set(digest, Date.now());
        if (left > 0) {
          uses.set(digest, left);
          return;
        }
        uses.delete(digest);
        changed();
        options.onIdle?.(digest);
      };
    },
    inUse: (digest) => uses.has(digest),
    usedAt: (digest) => usedAt.get(digest),
    async reserve(digest, bytes) {
      const leftBefore = leftovers.get(digest) ?? 0;
      leftovers.delete(digest);
      const claim = {};
      // Of what is here already no more is needed.
      claims.set(claim, leftBefore);
      const end = (): boolean => claims.delete(claim);
      const turn = admission.then(async () => {
        // Others may let go while this one waits, and nobody comes in between.
        const isRoom = await waitForRoom(digest, bytes, Math.max(0, bytes - leftBefore));
        if (isRoom) claims.set(claim, bytes);
        return isRoom;
      });
      admission = turn.catch(() => undefined);
      try {
        if (!(await turn)) throw busy('the cache is full of blobs that are in use or pinned (cache.size)');
      } catch (error) {
        end();
        if (leftBefore > 0) leftovers.set(digest, leftBefore);
        throw error;
      }
      return {
        complete: () => void end(),
        release(leftBytes) {
          if (!end()) return;
          if (leftBytes > 0) leftovers.set(digest, leftBytes);
          changed();
        },
      };
    },
    trim,
    makeRoom(bytes) {
      return inTurn(async () => {
        await ready;
        await dropLeftovers();
        const missing = bytes - (await options.freeBytes());
        if (missing > sum((await candidates()).map((one) => one.bytes))) {
          log.error({ bytes, missing }, 'the disk is full and eviction would not make enough room');
          return false;
        }
        await evict(missing, 'disk', false);
        return true;
      });
    },
    remove(digest) {
      return inTurn(async () => {
        if (!(await store.stat(digest))) return 'missing';
        if (pins.has(digest)) return 'pinned';
        if (uses.has(digest)) return 'in-use';
        await forget(digest);
        await store.delete(digest);
        changed();
        return 'removed';
      });
    },
    async gone(digest) {
      await forget(digest);
      changed();
    },
    async lost(digest) {
      log.error({ digest }, 'the file of a cached blob had changed; it was set aside');
      await forget(digest);
      changed();
    },
    countedBytes,
    async close() {
      closing = true;
      clearInterval(watch);
      changed();
      await Promise.allSettled([admission, ready]);
      await last;
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
