/**
 * Discovery without a tracker: providers of a blob by the DHT, and the known members that say they have it.
 *
 * What we hold is told to the DHT within a budget, so that 100,000 idle blobs cost no more than the budget does:
 * - the latest `BUDGET` blobs that came or were used are provided, the others are not (known members are asked for those);
 * - one after the other, with pauses, and each again twice a day (after a start too: others keep what they were told a day);
 * - not when enough others provide the blob already.
 */
import type { Digest } from '#oci';
import type { Overlay } from '#swarm';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import { createPause } from './pause.ts';
import type { Discovery, Membership } from './port.ts';

interface OverlayTiming {
  /** Between two blobs that are told: those that came just now, and those that are told again. */
  readonly newPauseMs: number;
  readonly renewPauseMs: number;
  /** How long what was told counts before it is told again. */
  readonly renewMs: number;
  /** Between two looks whether anybody can be told, and whether they may be. */
  readonly waitMs: number;
  readonly restMs: number;
  readonly searchMs: number;
  /** Pauses of the searches that are repeated while hardly anybody is known. */
  readonly againMs: readonly number[];
}

const TIMING: OverlayTiming = {
  newPauseMs: 20,
  renewPauseMs: 5_000,
  renewMs: 12 * 3_600_000,
  waitMs: 1_000,
  restMs: 5_000,
  searchMs: 5_000,
  againMs: [1_000, 2_000, 4_000, 8_000, 30_000],
};

const BUDGET = 1_000;
/** Providers of a blob that are enough. */
const ENOUGH_PROVIDERS = 16;
const PROVIDE_DEADLINE_MS = 15_000;
/** Known members that are asked for one blob, and how many at once. */
const MAX_ASKED = 32;
const ASKED_AT_ONCE = 8;
const ENOUGH_HOLDERS = 8;
const ASK_DEADLINE_MS = 3_000;

/** The key under which a blob's providers are kept. */
export const providerKey = (digest: Digest): string => `blob ${digest}`;
/** Asked of a member: whether it has the blob, or a part of it. */
export const haveQuestion = (digest: Digest): string => `have ${digest}`;

export interface HeldBlob {
  readonly infoHash: InfoHash;
  readonly digest: Digest;
}

interface OverlayDiscoveryOptions {
  readonly overlay: Overlay;
  /** The digest behind an infohash that we hold. */
  readonly digestOf: (infoHash: InfoHash) => Promise<Digest | undefined>;
  /** Blobs that were used lately, the latest first; read once, at most so many. Undefined: nobody is told what we hold. */
  readonly recent: ((most: number) => Promise<readonly HeldBlob[]>) | undefined;
  /** Whether others may learn what we hold; asked each time. */
  readonly mayTell: () => boolean;
  readonly log: Logger;
  readonly timing?: Partial<OverlayTiming> | undefined;
}

export function createOverlayDiscovery(options: OverlayDiscoveryOptions): Discovery {
  const { overlay, digestOf, mayTell, log } = options;
  const timing = { ...TIMING, ...options.timing };
  const stop = new AbortController();
  const pause = createPause();
  /** To be told, the oldest first; and what was told, by the time of the last. */
  const fresh = new Set<InfoHash>();
  const told = new Map<InfoHash, { readonly digest: Digest; readonly at: number }>();

  function forget(infoHash: InfoHash): void {
    fresh.delete(infoHash);
    const known = told.get(infoHash);
    if (known === undefined) return;
    told.delete(infoHash);
    void overlay.withdraw(providerKey(known.digest));
  }

  function keepBudget(): void {
    for (const infoHash of told.keys()) {
      if (told.size + fresh.size <= BUDGET) return;
      forget(infoHash);
    }
    for (const infoHash of fresh) {
      if (fresh.size <= BUDGET) return;
      fresh.delete(infoHash);
    }
  }

  async function tell(infoHash: InfoHash): Promise<void> {
    const digest = told.get(infoHash)?.digest ?? (await digestOf(infoHash));
    if (digest === undefined) return;
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(PROVIDE_DEADLINE_MS)]);
    const key = providerKey(digest);
    let others = 0;
    for await (const _provider of overlay.providers(key, signal)) {
      others += 1;
      if (others >= ENOUGH_PROVIDERS) break;
    }
    if (others < ENOUGH_PROVIDERS) await overlay.provide(key, signal);
    told.delete(infoHash);
    told.set(infoHash, { digest, at: performance.now() });
    keepBudget();
  }

  function nextDue(): { readonly infoHash: InfoHash; readonly isNew: boolean } | undefined {
    for (const infoHash of fresh) return { infoHash, isNew: true };
    for (const [infoHash, { at }] of told) {
      return performance.now() - at < timing.renewMs ? undefined : { infoHash, isNew: false };
    }
    return undefined;
  }

  async function keepTelling(recent: NonNullable<OverlayDiscoveryOptions['recent']>): Promise<void> {
    while (!stop.signal.aborted && !overlay.searchable) await pause.wait(timing.waitMs, stop.signal);
    if (stop.signal.aborted) return;
    for (const { infoHash, digest } of (await recent(BUDGET)).toReversed()) {
      if (!fresh.has(infoHash)) told.set(infoHash, { digest, at: Number.NEGATIVE_INFINITY });
    }
    while (!stop.signal.aborted) {
      const due = nextDue();
      if (due === undefined) {
        await pause.wait(Math.min(timing.renewMs, 60_000), stop.signal);
      } else if (!overlay.searchable) {
        await pause.wait(timing.waitMs, stop.signal);
      } else if (!mayTell()) {
        await pause.wait(timing.restMs, stop.signal);
      } else {
        fresh.delete(due.infoHash);
        await tell(due.infoHash);
        await pause.wait(due.isNew ? timing.newPauseMs : timing.renewPauseMs, stop.signal);
      }
    }
  }
  const telling = (options.recent ? keepTelling(options.recent) : Promise.resolve()).catch((error: unknown) =>
    log.error({ err: error }, 'blobs are not told to the DHT any more'),
  );

  /** Known members that say they have it, and those that the DHT names. */
  async function search(
    digest: Digest,
    signal: AbortSignal,
    found: (peer: Parameters<Overlay['ask']>[0]) => void,
  ): Promise<void> {
    overlay.listen();
    let holders = 0;
    const named = (async () => {
      for await (const peer of overlay.providers(providerKey(digest), signal)) found(peer);
    })();
    const members = overlay.members().slice(0, MAX_ASKED).values();
    const askNext = async (): Promise<void> => {
      for (const member of members) {
        if (signal.aborted || holders >= ENOUGH_HOLDERS) return;
        const within = AbortSignal.any([signal, AbortSignal.timeout(ASK_DEADLINE_MS)]);
        const has = await overlay
          .ask(member, haveQuestion(digest), { maxBytes: 16, signal: within })
          .catch(() => undefined);
        if (has === undefined) continue;
        holders += 1;
        found(member);
      }
    };
    await Promise.all([named, ...Array.from({ length: ASKED_AT_ONCE }, askNext)]);
  }

  return {
    join({ digest, onPeers, onAnswered }): Membership {
      const ended = new AbortController();
      const signal = AbortSignal.any([ended.signal, stop.signal]);
      const known = new Set<string>();
      const again = createPause();

      async function follow(): Promise<void> {
        if (digest !== undefined) {
          for (const pauseMs of [0, ...timing.againMs]) {
            if (known.size >= ENOUGH_HOLDERS) break;
            if (pauseMs > 0) await again.wait(pauseMs, signal);
            if (signal.aborted) return;
            const within = AbortSignal.any([signal, AbortSignal.timeout(timing.searchMs)]);
            await search(digest, within, (peer) => {
              const name = peer.libp2p?.peerId ?? `${peer.host}:${peer.port}`;
              if (signal.aborted || known.has(name)) return;
              known.add(name);
              onPeers([peer]);
            });
            if (pauseMs === 0 && !signal.aborted) onAnswered?.(true);
          }
        } else if (!signal.aborted) {
          onAnswered?.(true);
        }
      }
      // In a later turn, so that the caller has its membership before it hears of peers.
      void Promise.resolve()
        .then(follow)
        .catch((error: unknown) => log.error({ err: error }, 'members were not looked for'));
      const end = async (): Promise<void> => ended.abort();
      return { complete: end, leave: end };
    },
    hold(infoHashes) {
      if (!options.recent) return;
      for (const infoHash of infoHashes) if (!told.has(infoHash)) fresh.add(infoHash);
      keepBudget();
      pause.wake();
    },
    drop(infoHashes) {
      for (const infoHash of infoHashes) forget(infoHash);
    },
    async close() {
      stop.abort();
      await telling;
    },
  };
}
