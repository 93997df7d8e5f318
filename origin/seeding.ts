/**
 * The origin as a member of every swarm: it seeds each blob that it holds, and what has come of those that
 * are on their way from an upstream; it downloads nothing.
 * Nothing is open for an idle blob; an incoming handshake opens it from the catalogue and the store.
 */
import type { BlobStore } from '#blobs';
import type { HostPort } from '#http';
import {
  createSwarm,
  createSwarmMetrics,
  type Identity,
  type Swarm,
  type SwarmMembership,
  type Transport,
} from '#swarm';
import type { Logger, Metrics } from '#telemetry';
import type { Drafts } from './drafts.ts';
import type { Torrents } from './torrents.ts';

export async function startSeeding(options: {
  /** Plain BitTorrent TCP; undefined: none. */
  readonly listen: HostPort | undefined;
  /** libp2p; undefined: none. */
  readonly libp2p: { readonly identity: Identity; readonly listen: HostPort } | undefined;
  readonly transports: readonly Transport[];
  /** Admission to a cluster; undefined: everybody takes part. */
  readonly membership: SwarmMembership | undefined;
  readonly uploadRateBytesPerSecond?: number | undefined;
  readonly torrents: Torrents;
  readonly drafts: Drafts;
  readonly blobs: BlobStore;
  /** Told how much blob payload passed through the swarm. */
  readonly countPayload: (direction: 'in' | 'out', bytes: number) => void;
  readonly metrics: Metrics;
  readonly log: Logger;
}): Promise<Swarm> {
  const { torrents, drafts, blobs, metrics, log, libp2p, uploadRateBytesPerSecond } = options;
  const counted = createSwarmMetrics(metrics);
  return createSwarm({
    listen: options.listen,
    transports: options.transports,
    membership: options.membership,
    ...(libp2p && { identity: libp2p.identity, peerListen: libp2p.listen }),
    log,
    ...(uploadRateBytesPerSecond !== undefined && { uploadRateBytesPerSecond }),
    async lookup(infoHash) {
      const growing = drafts.seed(infoHash);
      if (growing !== undefined) return growing;
      const metainfo = await torrents.byInfoHash(infoHash);
      const store = metainfo && (await blobs.open(metainfo.digest));
      return store && { metainfo, store };
    },
    observer: {
      ...counted.observer,
      payload(direction, transport, bytes, peer) {
        counted.observer.payload(direction, transport, bytes, peer);
        options.countPayload(direction, bytes);
      },
      pieceRejected(infoHash, peer) {
        counted.pieceRejected();
        log.warn({ infoHash, peer }, 'piece rejected');
      },
      seedUnreadable(infoHash, error) {
        log.error({ err: error, infoHash }, 'a stored blob cannot be read; it is not seeded now');
      },
    },
  });
}
