/**
 * Blobs that are open because somebody asks for them. A handshake opens one, and when nobody has
 * been connected for a while it is closed again, with its store: an idle blob costs nothing.
 */
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import type { Seed, SeedStore } from '../port.ts';
import { type EngineParts, type OpenBlob, openBlob } from './open-blob.ts';

/** Each holds a file; strangers who know many infohashes must not exhaust the descriptors. */
const MAX_OPEN = 1_000;

export interface Seeds {
  get(infoHash: InfoHash): OpenBlob | undefined;
  /** The open seed, or the one that `lookup` knows, ready for peers. Single flight. */
  open(infoHash: InfoHash): Promise<OpenBlob | undefined>;
  /** A finished download goes on as a seed, from this store. */
  adopt(blob: OpenBlob, store: SeedStore): void;
  /** Stops seeding it and closes its store. */
  release(infoHash: InfoHash): Promise<void>;
  /** Its store cannot be read: stops seeding it and tells the owner. */
  unreadable(infoHash: InfoHash, error: Error): void;
  all(): Iterable<OpenBlob>;
  size(): number;
  /** Closes what nobody uses any more. */
  sweep(now: number): void;
  close(): Promise<void>;
}

export function createSeeds(options: {
  readonly parts: EngineParts;
  readonly lookup: (infoHash: InfoHash) => Promise<Seed | undefined>;
  readonly idleMs: number;
  readonly log: Logger;
  /** Some blob is open from now on. */
  readonly woken: () => void;
}): Seeds {
  const { parts, log } = options;
  const open = new Map<InfoHash, { readonly blob: OpenBlob; readonly store: SeedStore }>();
  const opening = new Map<InfoHash, Promise<OpenBlob | undefined>>();
  /** Grows when a blob is released, so that a look-up that was running meanwhile is not believed. */
  const releases = new Map<InfoHash, number>();
  const closings = new Set<Promise<void>>();
  let closed = false;

  const closeStore = async (infoHash: InfoHash, store: SeedStore): Promise<void> => {
    try {
      await store.close();
    } catch (error) {
      log.warn({ infoHash, err: error }, 'a seed could not be closed');
    }
  };

  const shut = (infoHash: InfoHash, reason: string): Promise<void> => {
    const seed = open.get(infoHash);
    if (!seed) return Promise.resolve();
    open.delete(infoHash);
    const closing = (async () => {
      await seed.blob.close(reason);
      await closeStore(infoHash, seed.store);
    })();
    closings.add(closing);
    const done = (): unknown => closings.delete(closing);
    closing.then(done, done);
    return closing;
  };

  const unreadable = (infoHash: InfoHash, error: Error): void => {
    if (!open.has(infoHash)) return;
    log.error({ infoHash, err: error }, 'a seed cannot be read');
    shut(infoHash, 'unreadable').catch(() => {});
    parts.observer.seedUnreadable(infoHash, error);
  };

  const idle = (seed: { readonly blob: OpenBlob }, now: number): boolean =>
    seed.blob.connections.size === 0 && now - seed.blob.idleSince >= options.idleMs;

  const makeRoom = (): boolean => {
    if (open.size + opening.size <= MAX_OPEN) return true;
    for (const [infoHash, seed] of open) {
      if (seed.blob.connections.size > 0) continue;
      shut(infoHash, 'room for another').catch(() => {});
      return true;
    }
    return false;
  };

  const lookUp = async (infoHash: InfoHash): Promise<OpenBlob | undefined> => {
    const before = releases.get(infoHash) ?? 0;
    const seed = await options.lookup(infoHash);
    if (!seed) return undefined;
    if (closed || (releases.get(infoHash) ?? 0) !== before || !makeRoom()) {
      await closeStore(infoHash, seed.store);
      return undefined;
    }
    const fail = (error: Error): void => unreadable(infoHash, error);
    const blob = openBlob(parts, seed.metainfo, seed.store, {
      opened: () => {},
      closed: () => {},
      listening: () => {},
      availability: () => {},
      block: () => {},
      keep: async () => {},
      verified: () => {},
      failed: () => {},
      ask: () => {},
      done: () => {},
      unreadable: fail,
      broken: fail,
    });
    blob.complete = true;
    open.set(infoHash, { blob, store: seed.store });
    options.woken();
    await blob.ready;
    return blob;
  };

  return {
    get: (infoHash) => open.get(infoHash)?.blob,
    open: (infoHash) => {
      const running = opening.get(infoHash);
      if (running) return running;
      const known = open.get(infoHash);
      if (known) return known.blob.ready.then(() => known.blob);
      const started = lookUp(infoHash)
        .catch((error: unknown) => {
          log.warn({ infoHash, err: error }, 'a blob could not be opened for a peer');
          return undefined;
        })
        .finally(() => {
          opening.delete(infoHash);
          if (opening.size === 0) releases.clear();
        });
      opening.set(infoHash, started);
      return started;
    },
    adopt: (blob, store) => {
      const { infoHash } = blob.metainfo;
      if (closed || blob.closed || open.has(infoHash)) {
        closeStore(infoHash, store).catch(() => {});
        return;
      }
      blob.store = store;
      open.set(infoHash, { blob, store });
    },
    release: async (infoHash) => {
      if (opening.has(infoHash)) releases.set(infoHash, (releases.get(infoHash) ?? 0) + 1);
      await shut(infoHash, 'released');
    },
    unreadable,
    all: () => [...open.values()].map((seed) => seed.blob),
    size: () => open.size,
    sweep: (now) => {
      for (const [infoHash, seed] of open) {
        if (idle(seed, now)) shut(infoHash, 'idle').catch(() => {});
        else seed.blob.sweep(now, options.idleMs);
      }
    },
    close: async () => {
      closed = true;
      for (const infoHash of [...open.keys()]) shut(infoHash, 'the swarm is closed').catch(() => {});
      await Promise.allSettled([...opening.values()]);
      await Promise.allSettled([...closings]);
    },
  };
}
