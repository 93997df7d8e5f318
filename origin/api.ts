/** The origin's management API, beside `/v2`. Errors are RFC 9457 problems. */
import type { FastifyInstance } from 'fastify';
import type { BlobStore } from '#blobs';
import { formatHostPort, type HostPort, ProblemError } from '#http';
import { formatMember, formatMultiaddr, type Libp2pAddress, type MemberAddress } from '#multiaddr';
import type { Swarm } from '#swarm';
import { type InfoHash, parseInfoHash } from '#torrent';
import type { Tracker } from '#tracker';
import { clusterPaths } from './cluster/openapi.ts';
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
  readonly mayAnnounce: (infoHash: InfoHash, passkey: string | undefined) => boolean;
  readonly collector: Collector;
  readonly scrubber: Scrubber;
  readonly upstreams: Upstreams;
  readonly startedAt: number;
  readonly publicUrl: string | undefined;
  /** Members are told from strangers here. */
  readonly hasCluster: boolean;
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
  const { torrents, drafts, swarm } = parts;
  const identify = async (infoHash: InfoHash) =>
    drafts.identify(infoHash) ?? (await torrents.identify(infoHash));

  const { paths } = openApiDocument;
  const document = parts.hasCluster
    ? { ...openApiDocument, paths: { ...paths, ...clusterPaths } }
    : openApiDocument;
  app.get('/api/v1/openapi.json', async () => document);
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
      ...heldNow(parts),
      swarm: { openBlobs: swarm?.openBlobs() ?? 0, peers: swarm?.peers() ?? [] },
    };
  });

  app.get<{ Params: { infoHash: string } }>('/api/v1/torrents/:infoHash', async (request) => {
    const infoHash = infoHashOf(request.params.infoHash);
    const blob = await identify(infoHash);
    if (blob === undefined) {
      throw new ProblemError(404, 'Not Found', `no blob here has the infohash ${infoHash}`);
    }
    return { ...blob, peers: parts.peers.flatMap(formatMember) };
  });

  // For a tracker that runs alone: its clients' passkeys are ours.
  app.get<{ Params: { infoHash: string }; Querystring: { passkey?: unknown } }>(
    '/api/v1/torrents/:infoHash/announce',
    async (request) => {
      const infoHash = infoHashOf(request.params.infoHash);
      const { passkey } = request.query;
      return {
        held: (await identify(infoHash)) !== undefined,
        mayAnnounce: parts.mayAnnounce(
          infoHash,
          typeof passkey === 'string' && passkey ? passkey : undefined,
        ),
      };
    },
  );
}

/** What the origin holds, serves and fetches. */
export function heldNow({
  blobs,
  torrents,
  payload,
  upstreams,
  tracker,
}: Pick<ApiParts, 'blobs' | 'torrents' | 'payload' | 'upstreams' | 'tracker'>) {
  const { blobs: count, bytes } = blobs.totals();
  return {
    blobs: { count, bytes },
    torrents: { hashing: torrents.pending() },
    blobBytes: payload(),
    upstreams: { fetching: upstreams.fetching(), registries: upstreams.status() },
    tracker: tracker.stats(),
  };
}

function infoHashOf(text: string): InfoHash {
  const infoHash = parseInfoHash(text);
  if (infoHash === undefined) throw new ProblemError(400, 'Bad Request', 'an infohash is 40 hex digits');
  return infoHash;
}
