/**
 * The origin as a member of every swarm: it seeds each blob that it holds, and what has come of those that
 * are on their way from an upstream; it downloads nothing.
 * Nothing is open for an idle blob; an incoming handshake opens it from the catalogue and the store.
 */
import type { BlobStore } from '#blobs';
import type { HostPort } from '#http';
import { createSwarm, type Identity, type Swarm, type Transport } from '#swarm';
import type { Logger, Metrics } from '#telemetry';
import type { Drafts } from './drafts.ts';
import type { Torrents } from './torrents.ts';

export async function startSeeding(options: {
  /** Plain BitTorrent TCP; undefined: none. */
  readonly listen: HostPort | undefined;
  /** libp2p; undefined: none. */
  readonly libp2p: { readonly identity: Identity; readonly listen: HostPort } | undefined;
  readonly transports: readonly Transport[];
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
  const payloadOf = metrics.sums<'direction' | 'transport'>({
    name: 'shoal_swarm_payload_bytes_total',
    help: 'Blob payload exchanged with members of the swarm',
    labels: ['direction', 'transport'],
  });
  const payloadBy = (direction: 'in' | 'out') => ({
    tcp: payloadOf({ direction, transport: 'tcp' }),
    libp2p: payloadOf({ direction, transport: 'libp2p' }),
  });
  const payload = { in: payloadBy('in'), out: payloadBy('out') };
  const rejected = metrics.counter({
    name: 'shoal_pieces_rejected_total',
    help: 'Pieces whose hash was wrong',
  });
  const connected = { tcp: 0, libp2p: 0 };
  metrics.gauge<'transport'>({
    name: 'shoal_peers_connected',
    help: 'Members that are connected now',
    labels: ['transport'],
    read(gauge) {
      gauge.set({ transport: 'tcp' }, connected.tcp);
      gauge.set({ transport: 'libp2p' }, connected.libp2p);
    },
  });
  return createSwarm({
    listen: options.listen,
    transports: options.transports,
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
      payload(direction, transport, bytes) {
        payload[direction][transport](bytes);
        options.countPayload(direction, bytes);
      },
      pieceRejected(infoHash, peer) {
        rejected.inc();
        log.warn({ infoHash, peer }, 'piece rejected');
      },
      connected(transport) {
        connected[transport] += 1;
      },
      disconnected(transport) {
        connected[transport] -= 1;
      },
      seedUnreadable(infoHash, error) {
        log.error({ err: error, infoHash }, 'a stored blob cannot be read; it is not seeded now');
      },
    },
  });
}
