/** Discovery by trackers: standard announces for what we download, an inventory for what we hold. */
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import { type AnnounceTarget, type Self, type SelfAddress, UNREACHABLE_PORT } from './announce.ts';
import { httpTarget } from './http-announce.ts';
import { INVENTORY_TIMING, type InventoryTiming, syncInventory } from './inventory.ts';
import { ANNOUNCE_TIMING, type AnnounceTiming, joinTrackers } from './membership.ts';
import type { Discovery, Membership } from './port.ts';
import { udpTarget } from './udp-announce.ts';

export interface TrackerDiscoveryOptions {
  /** Base URLs of our trackers (origins, or `shoal tracker`), for example http://127.0.0.1:5000. */
  readonly trackers: readonly string[];
  /** For announces and inventories; its authorities are trusted for https trackers. Not closed here. */
  readonly client: HttpClient;
  /** Our 20-byte BitTorrent peer id in hex. */
  readonly peerId: string;
  /**
   * Where members dial us. Without a host, the address that the tracker sees; without a port, not
   * by plain TCP. Undefined: they cannot, or by libp2p at the address that the tracker sees.
   */
  readonly address: SelfAddress | undefined;
  /** Who we are on libp2p, when we speak it; without a port we only dial. */
  readonly libp2p?: { readonly port: number | undefined; readonly peerId: string } | undefined;
  /** Our locality, coarse to fine, split by `/`. */
  readonly zone?: string | undefined;
  readonly log: Logger;
  readonly timing?: {
    readonly announce?: Partial<AnnounceTiming>;
    readonly inventory?: Partial<InventoryTiming>;
  };
}

/** Of one blob; a metainfo may name any number. */
const MAX_TRACKERS = 8;
/** Close ends within this. */
const GOODBYE_MS = 1_800;

/** Never throws for a tracker that fails: it is tried again, and logged at debug. */
export function createTrackerDiscovery(options: TrackerDiscoveryOptions): Discovery {
  const { client, log, trackers } = options;
  const { peerId, address, libp2p, zone } = options;
  const self: Self = {
    peerId,
    address,
    zone,
    libp2p: libp2p && { port: libp2p.port ?? UNREACHABLE_PORT, peerId: libp2p.peerId },
  };
  const held = new Set<InfoHash>();
  const memberships = new Set<Membership>();
  const inventories = trackers.map((tracker) =>
    syncInventory({
      tracker,
      client,
      self,
      held,
      timing: { ...INVENTORY_TIMING, ...options.timing?.inventory },
      log,
    }),
  );
  let closing: Promise<void> | undefined;

  const targetsOf = (announce: readonly string[]): AnnounceTarget[] => {
    const urls = new Set([...trackers.map((base) => `${base.replace(/\/+$/, '')}/announce`), ...announce]);
    return [...urls]
      .flatMap((url) => {
        if (/^https?:\/\//i.test(url) && URL.canParse(url)) return httpTarget(url, client, self);
        if (/^udp:\/\//i.test(url) && Number(URL.parse(url)?.port) > 0) return udpTarget(url, self);
        return [];
      })
      .slice(0, MAX_TRACKERS);
  };

  return {
    join({ infoHash, announce, left, onPeers, onAnswered }) {
      if (closing !== undefined) return { complete: async () => undefined, leave: async () => undefined };
      const membership = joinTrackers({ infoHash, left, onPeers, onAnswered }, targetsOf(announce), {
        timing: { ...ANNOUNCE_TIMING, ...options.timing?.announce },
        log,
        onEnd: () => memberships.delete(membership),
      });
      memberships.add(membership);
      return membership;
    },
    hold(infoHashes) {
      const added = [...infoHashes].filter((infoHash) => !held.has(infoHash));
      for (const infoHash of added) held.add(infoHash);
      for (const inventory of inventories) inventory.changed(added, 'held');
    },
    drop(infoHashes) {
      const removed = [...infoHashes].filter((infoHash) => held.delete(infoHash));
      for (const inventory of inventories) inventory.changed(removed, 'dropped');
    },
    close() {
      closing ??= (async () => {
        const deadline = AbortSignal.timeout(GOODBYE_MS);
        await Promise.allSettled([
          ...inventories.map((inventory) => inventory.goodbye(deadline)),
          ...Array.from(memberships, (membership) => membership.leave()),
        ]);
      })();
      return closing;
    },
  };
}
