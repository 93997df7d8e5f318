/** The origin's management API, beside `/v2`. Errors are RFC 9457 problems. */
import type { FastifyInstance } from 'fastify';
import type { BlobStore } from '#blobs';
import { formatHostPort, type HostPort, ProblemError } from '#http';
import { formatMember, formatMultiaddr, type Libp2pAddress, type MemberAddress } from '#multiaddr';
import type { Swarm } from '#swarm';
import { parseInfoHash } from '#torrent';
import type { Tracker } from '#tracker';
import { type Collector, registerCollectionApi } from './collection/index.ts';
import type { Drafts } from './drafts.ts';
import { openApiDocument } from './openapi.ts';
import { registerScrubApi, type Scrubber } from './scrub/index.ts';
import type { Torrents } from './torrents.ts';
import type { Upstreams } from './upstream/index.ts';

export interface ApiParts {
  readonly blobs: BlobStore;
  readonly torrents: Torrents;
  readonly drafts: Drafts;
  readonly swarm: Swarm | undefined;
  readonly tracker: Tracker;
  readonly collector: Collector;
  readonly scrubber: Scrubber;
  readonly upstreams: Upstreams;
  readonly startedAt: number;
  readonly publicUrl: string | undefined;
  /** This origin as members dial it. */
  readonly peers: readonly MemberAddress[];
  readonly listeners: () => {
    readonly registry: HostPort;
    readonly bittorrent: HostPort | undefined;
    readonly libp2p: (HostPort & Libp2pAddress) | undefined;
    readonly udpTracker: HostPort | undefined;
  };
  /** Blob payload over HTTP and swarm since the start. */
  readonly payload: () => { readonly in: number; readonly out: number };
}

export function registerApi(app: FastifyInstance, parts: ApiParts): void {
  const { torrents, drafts, blobs, swarm } = parts;

  app.get('/api/v1/openapi.json', async () => openApiDocument);
  registerCollectionApi(app, parts.collector);
  registerScrubApi(app, parts.scrubber);

  app.get('/api/v1/status', async () => {
    const { registry, bittorrent, libp2p, udpTracker } = parts.listeners();
    return {
      program: 'origin',
      startedAt: new Date(parts.startedAt).toISOString(),
      uptimeSeconds: Math.round((Date.now() - parts.startedAt) / 1000),
      publicUrl: parts.publicUrl ?? null,
      listen: formatHostPort(registry),
      bittorrentListen: bittorrent ? formatHostPort(bittorrent) : null,
      peerListen: libp2p ? formatMultiaddr(libp2p) : null,
      udpListen: udpTracker ? formatHostPort(udpTracker) : null,
      blobs: { count: blobs.totals().blobs, bytes: blobs.totals().bytes },
      torrents: { hashing: torrents.pending() },
      blobBytes: parts.payload(),
      upstreams: { fetching: parts.upstreams.fetching(), registries: parts.upstreams.status() },
      tracker: parts.tracker.stats(),
      swarm: { openBlobs: swarm?.openBlobs() ?? 0, peers: swarm?.peers() ?? [] },
    };
  });

  app.get<{ Params: { infoHash: string } }>('/api/v1/torrents/:infoHash', async (request) => {
    const infoHash = parseInfoHash(request.params.infoHash);
    if (infoHash === undefined) {
      throw new ProblemError(400, 'Bad Request', 'an infohash is 40 hex digits');
    }
    const blob = drafts.identify(infoHash) ?? (await torrents.identify(infoHash));
    if (blob === undefined) {
      throw new ProblemError(404, 'Not Found', `no blob here has the infohash ${infoHash}`);
    }
    return { ...blob, peers: parts.peers.flatMap(formatMember) };
  });
}
