/** Discovery by trackers: standard announces for what we download, an inventory for what we hold. */
import { type Endpoint, type Endpoints, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import { type AnnounceTarget, type Self, type SelfAddress, UNREACHABLE_PORT } from './announce.ts';
import { httpTarget } from './http-announce.ts';
import { INVENTORY_TIMING, type InventoryTiming, syncInventory } from './inventory.ts';
import { ANNOUNCE_TIMING, type AnnounceTiming, type JoinedTrackers, joinTrackers } from './membership.ts';
import type { Discovery } from './port.ts';
import { udpTarget } from './udp-announce.ts';

export interface TrackerDiscoveryOptions {
  /** Our trackers: origins, or `shoal tracker`. */
  readonly trackers: Endpoints;
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
  /** Downloads, with the trackers that their metainfo names. */
  const joined = new Map<JoinedTrackers, readonly string[]>();
  const leaving = new Set<Promise<void>>();
  let closing: Promise<void> | undefined;

  const targetsOf = (announce: readonly string[]): AnnounceTarget[] => {
    const ours = trackers.current();
    const targets = ours.map((tracker) => targetAt(`${tracker.url}/announce`, tracker));
    const own = new Set(ours.map(({ url }) => `${url}/announce`));
    for (const url of new Set(announce.filter((each) => !own.has(each)).slice(0, MAX_TRACKERS))) {
      if (/^https?:\/\//i.test(url) && URL.canParse(url)) {
        // What one of several of a name gave out is asked of each: a passkey may come with the URL.
        const behind = ours.filter((tracker) => url.startsWith(`${tracker.url}/`));
        targets.push(
          ...(behind.length === 0
            ? [httpTarget(url, client, self)]
            : behind.map((tracker) => targetAt(url, tracker))),
        );
      } else if (/^udp:\/\//i.test(url) && Number(URL.parse(url)?.port) > 0)
        targets.push(udpTarget(url, self));
    }
    return targets;
  };
  const targetAt = (url: string, tracker: Endpoint): AnnounceTarget =>
    httpTarget(url, endpointClient(client, tracker), self, tracker.address);

  const inventories = trackers.each(
    (tracker) => {
      for (const [download, announce] of joined) download.follow(targetsOf(announce));
      return syncInventory({
        ...{ tracker, client, self, held, log },
        timing: { ...INVENTORY_TIMING, ...options.timing?.inventory },
      });
    },
    (inventory) => {
      for (const [download, announce] of joined) download.follow(targetsOf(announce));
      const left = inventory.goodbye(AbortSignal.timeout(GOODBYE_MS)).finally(() => leaving.delete(left));
      leaving.add(left);
    },
  );

  return {
    join({ infoHash, announce, left, onPeers, onAnswered }) {
      if (closing !== undefined) return { complete: async () => undefined, leave: async () => undefined };
      const membership = joinTrackers({ infoHash, left, onPeers, onAnswered }, targetsOf(announce), {
        timing: { ...ANNOUNCE_TIMING, ...options.timing?.announce },
        log,
        onEnd: () => joined.delete(membership),
      });
      joined.set(membership, announce);
      return membership;
    },
    hold(infoHashes) {
      const added = [...infoHashes].filter((infoHash) => !held.has(infoHash));
      for (const infoHash of added) held.add(infoHash);
      for (const inventory of inventories.values()) inventory.changed(added, 'held');
    },
    drop(infoHashes) {
      const removed = [...infoHashes].filter((infoHash) => held.delete(infoHash));
      for (const inventory of inventories.values()) inventory.changed(removed, 'dropped');
    },
    close() {
      closing ??= (async () => {
        const deadline = AbortSignal.timeout(GOODBYE_MS);
        await Promise.allSettled([
          ...leaving,
          ...inventories.values().map((inventory) => inventory.goodbye(deadline)),
          ...Array.from(joined.keys(), (download) => download.leave()),
        ]);
      })();
      return closing;
    },
  };
}
