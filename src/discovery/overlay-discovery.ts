/**
 * Discovery without a tracker: providers of a blob by the DHT, and the known members that say they have it.
 *
 * What we hold is told to the DHT within a budget, so that 100,000 idle blobs cost no more than the budget does:
 * - the latest `BUDGET` blobs and manifests that came or were used are provided, the others are not (known members are asked for those);
 * - what is new is told some seconds later: it came while others fetched it too, and looking for it comes first;
 * - one after the other, with pauses, and each again twice a day (after a start too: others keep what they were told a day);
 * - not when enough others provide the blob already.
 *
 * Who looks for a blob asks the DHT first, and known members only when that names nobody: each question to one that was not met
 * is a handshake, and a cluster that lost its tracker looks everywhere at once.
 */
import type { Digest } from '#oci';
import type { Overlay, PeerAddress } from '#swarm';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import { createPause } from '#waiting';
import type { Discovery, Membership } from './port.ts';

interface OverlayTiming {
  /** What is new is told between once and twice this later, each agent at its own time. */
  readonly settleMs: number;
  /** Between two blobs that are told: those that came just now, and those that are told again. */
  readonly newPauseMs: number;
  readonly renewPauseMs: number;
  /** How long what was told counts before it is told again. */
  readonly renewMs: number;
  /** Between two looks whether anybody can be told, and whether they may be. */
  readonly waitMs: number;
  readonly restMs: number;
  readonly searchMs: number;
  /** What the DHT may take until known members are asked too. */
  readonly headStartMs: number;
  /** Pauses of the searches that are repeated while nobody is known, and while hardly anybody is. */
  readonly againMs: readonly number[];
  readonly moreMs: readonly number[];
}

const TIMING: OverlayTiming = {
  settleMs: 2_500,
  newPauseMs: 20,
  renewPauseMs: 5_000,
  renewMs: 12 * 3_600_000,
  waitMs: 1_000,
  restMs: 5_000,
  searchMs: 5_000,
  headStartMs: 500,
  againMs: [1_000, 2_000, 4_000, 8_000, 30_000],
  moreMs: [5_000, 15_000, 30_000],
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

/** The key under which the providers of a blob or a manifest are kept. */
export const providerKey = (digest: Digest): string => `blob ${digest}`;
/** Asked of a member: whether it has the blob, or a part of it. */
export const haveQuestion = (digest: Digest): string => `have ${digest}`;

export interface Held {
  readonly digest: Digest;
  /** Of a blob; manifests have none. */
  readonly infoHash?: InfoHash;
}

/** What is held goes by its infohash, a manifest by its digest. */
type HeldName = InfoHash | Digest;

export interface OverlayDiscovery extends Discovery {
  /** A manifest that others may ask for is here. */
  holdManifest(digest: Digest): void;
}

interface OverlayDiscoveryOptions {
  readonly overlay: Overlay;
  /** The digest behind an infohash that we hold. */
  readonly digestOf: (infoHash: InfoHash) => Promise<Digest | undefined>;
  /** What was used lately, the latest first; read once, at most so many. Undefined: nobody is told what we hold. */
  readonly recent: ((most: number) => Promise<readonly Held[]>) | undefined;
  /** Whether others may learn what we hold; asked each time. */
  readonly mayTell: () => boolean;
  readonly log: Logger;
  readonly timing?: Partial<OverlayTiming> | undefined;
}

export function createOverlayDiscovery(options: OverlayDiscoveryOptions): OverlayDiscovery {
  const { overlay, digestOf, mayTell, log } = options;
  const timing = { ...TIMING, ...options.timing };
  const stop = new AbortController();
  const pause = createPause();
  /** To be told, the oldest first; and what was told, by the time of the last. */
  const fresh = new Map<HeldName, { readonly digest: Digest | undefined; readonly dueAt: number }>();
  const settleMs = timing.settleMs * (1 + Math.random());
  const told = new Map<HeldName, { readonly digest: Digest; readonly at: number }>();

  function forget(name: HeldName): void {
    fresh.delete(name);
    const known = told.get(name);
    if (known === undefined) return;
    told.delete(name);
    void overlay.withdraw(providerKey(known.digest));
  }

  function keepBudget(): void {
    for (const name of told.keys()) {
      if (told.size + fresh.size <= BUDGET) return;
      forget(name);
    }
    for (const name of fresh.keys()) {
      if (fresh.size <= BUDGET) return;
      fresh.delete(name);
    }
  }

  function add(name: HeldName, digest?: Digest): void {
    if (told.has(name) || fresh.has(name)) return;
    fresh.set(name, { digest, dueAt: performance.now() + settleMs });
  }

  async function tell(name: HeldName, digest: Digest): Promise<void> {
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(PROVIDE_DEADLINE_MS)]);
    const key = providerKey(digest);
    let others = 0;
    for await (const _provider of overlay.providers(key, signal)) {
      others += 1;
      if (others >= ENOUGH_PROVIDERS) break;
    }
    if (others < ENOUGH_PROVIDERS) await overlay.provide(key, signal);
    told.delete(name);
    told.set(name, { digest, at: performance.now() });
    keepBudget();
  }

  /** A number: nothing is due for so many milliseconds. */
  async function nextDue(): Promise<{ name: HeldName; digest: Digest; isNew: boolean } | number> {
    let waitMs = 60_000;
    for (const [name, known] of fresh) {
      waitMs = Math.min(waitMs, known.dueAt - performance.now());
      if (waitMs > 0) break;
      const digest = known.digest ?? (await digestOf(name as InfoHash));
      if (digest !== undefined) return { name, digest, isNew: true };
      fresh.delete(name);
    }
    for (const [name, { digest, at }] of told) {
      return performance.now() - at < timing.renewMs ? waitMs : { name, digest, isNew: false };
    }
    return waitMs;
  }

  async function keepTelling(recent: NonNullable<OverlayDiscoveryOptions['recent']>): Promise<void> {
    while (!stop.signal.aborted && !overlay.searchable) await pause.wait(timing.waitMs, stop.signal);
    if (stop.signal.aborted) return;
    for (const { infoHash, digest } of (await recent(BUDGET)).toReversed()) {
      const name = infoHash ?? digest;
      if (!fresh.has(name)) told.set(name, { digest, at: Number.NEGATIVE_INFINITY });
    }
    while (!stop.signal.aborted) {
      const due = await nextDue();
      if (typeof due === 'number') {
        await pause.wait(due, stop.signal);
      } else if (!overlay.searchable) {
        await pause.wait(timing.waitMs, stop.signal);
      } else if (!mayTell()) {
        await pause.wait(timing.restMs, stop.signal);
      } else {
        fresh.delete(due.name);
        await tell(due.name, due.digest);
        await pause.wait(due.isNew ? timing.newPauseMs : timing.renewPauseMs, stop.signal);
      }
    }
  }
  const telling = (options.recent ? keepTelling(options.recent) : Promise.resolve()).catch((error: unknown) =>
    log.error({ err: error }, 'blobs are not told to the DHT any more'),
  );

  /** Those that the DHT names, and known members that say they have it. */
  async function search(
    digest: Digest,
    signal: AbortSignal,
    found: (peer: PeerAddress) => void,
    /** Ask known members whatever the DHT says: those that it names may be gone. */
    askAll: boolean,
  ): Promise<void> {
    overlay.listen();
    const enough = new AbortController();
    const within = AbortSignal.any([signal, enough.signal]);
    const holders = new Set<string>();
    function holds(peer: PeerAddress): void {
      found(peer);
      holders.add(peer.libp2p?.peerId ?? '');
      if (holders.size >= ENOUGH_HOLDERS) enough.abort();
    }

    async function named(): Promise<void> {
      for await (const peer of overlay.providers(providerKey(digest), within)) holds(peer);
    }
    const looking = named();
    const start = createPause();
    if (overlay.searchable && !askAll) {
      void looking.then(() => start.wake());
      await start.wait(timing.headStartMs, within);
    }
    const members = overlay.members().slice(0, MAX_ASKED).values();
    const askNext = async (): Promise<void> => {
      for (const member of members) {
        if (within.aborted || (!askAll && overlay.searchable && holders.size > 0)) return;
        const patience = AbortSignal.any([within, AbortSignal.timeout(ASK_DEADLINE_MS)]);
        const has = await overlay
          .ask(member, haveQuestion(digest), { maxBytes: 16, signal: patience })
          .catch(() => undefined);
        if (has !== undefined) holds(member);
      }
    };
    await Promise.all([looking, ...Array.from({ length: ASKED_AT_ONCE }, askNext)]);
  }

  return {
    join({ digest, onPeers, onAnswered }): Membership {
      const ended = new AbortController();
      const signal = AbortSignal.any([ended.signal, stop.signal]);
      const known = new Set<string>();
      const again = createPause();

      async function look(of: Digest, askAll: boolean): Promise<void> {
        const within = AbortSignal.any([signal, AbortSignal.timeout(timing.searchMs)]);
        const found = (peer: PeerAddress): void => {
          const name = peer.libp2p?.peerId ?? `${peer.host}:${peer.port}`;
          if (signal.aborted || known.has(name)) return;
          known.add(name);
          onPeers([peer]);
        };
        await search(of, within, found, askAll);
      }

      async function follow(): Promise<void> {
        if (digest !== undefined) await look(digest, false);
        if (!signal.aborted) onAnswered?.(true);
        if (digest === undefined) return;
        const pauses = { nobody: timing.againMs.values(), few: timing.moreMs.values() };
        while (known.size < ENOUGH_HOLDERS) {
          const { value: pauseMs, done } = (known.size === 0 ? pauses.nobody : pauses.few).next();
          if (done === true) return;
          await again.wait(pauseMs, signal);
          if (signal.aborted) return;
          await look(digest, true);
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
      for (const infoHash of infoHashes) add(infoHash);
      keepBudget();
      pause.wake();
    },
    holdManifest(digest) {
      if (!options.recent) return;
      add(digest, digest);
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
