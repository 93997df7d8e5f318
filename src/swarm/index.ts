/**
 * The swarm: blobs exchanged with other members over the BitTorrent peer protocol.
 *
 *     const swarm = await createSwarm({ listen: { host: '127.0.0.1', port: 0 }, lookup, observer, log });
 *     const download = swarm.download({ metainfo, store: partialBlob });
 *     download.addPeers([{ host: '127.0.0.1', port: 6881, role: 'origin' }]);
 *     await download.completed;
 *
 * Nothing outside this room knows an engine, a wire or a transport.
 */

export { createSwarm, DEFAULT_TRANSPORTS } from './engine.ts';
export { createSwarmMetrics } from './metrics.ts';
export type { Overlay, OverlayOptions, OverlayStatus } from './overlay/port.ts';
export type {
  DownloadStats,
  Identity,
  PeerAddress,
  PeerInfo,
  PeerRole,
  PieceSource,
  PieceStore,
  Seed,
  SeedStore,
  Swarm,
  SwarmDownload,
  SwarmMembership,
  SwarmObserver,
  SwarmOptions,
  SwarmRates,
  Transport,
} from './port.ts';
export { createIdentity, identityFile, loadIdentity } from './transport/index.ts';
