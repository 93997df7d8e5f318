/** `GET /api/v1/status`: what this agent does now, for `shoal status` and for people. */
import type { FastifyInstance } from 'fastify';
import type { BlobStore } from '#blobs';
import type { Membership } from '#cluster';
import { formatHostPort } from '#http';
import { formatMultiaddr } from '#multiaddr';
import manifest from '#package' with { type: 'json' };
import type { Swarm } from '#swarm';
import type { Downloads } from './downloads.ts';
import { openApiDocument } from './openapi.ts';
import type { Openness } from './openness.ts';
import type { OriginClient } from './origin-client.ts';
import type { RightsOptions } from './rights.ts';

export function registerStatus(
  app: FastifyInstance,
  context: {
    readonly config: { readonly zone?: string | undefined; readonly cacheSizeBytes?: number | undefined };
    readonly store: BlobStore;
    readonly swarm: Swarm;
    readonly origin: OriginClient;
    readonly downloads: Downloads;
    readonly openness: Openness;
    readonly settings: RightsOptions;
    readonly membership: Membership | undefined;
  },
): void {
  const { config, store, swarm, membership } = context;
  const until = (at: number | undefined): string | null =>
    at === undefined ? null : new Date(at).toISOString();
  const startedAt = new Date().toISOString();
  app.get('/api/v1/status', async () => ({
    program: 'agent',
    version: manifest.version,
    startedAt,
    zone: config.zone ?? null,
    origins: context.origin.status().map(({ url, address, name, reachable }) => ({
      url,
      address: address ?? null,
      reachable: reachable ?? null,
      open: context.openness.known(name) ?? null,
    })),
    cluster:
      membership === undefined
        ? null
        : {
            id: membership.cluster.id,
            memberUntil: until(membership.expiresAt()),
            problem: membership.problem() ?? null,
          },
    rights: { mode: context.settings.mode },
    cache: { ...store.totals(), limitBytes: config.cacheSizeBytes ?? null },
    downloads: context.downloads.status(),
    swarm: {
      peerId: swarm.peerId,
      listen: swarm.address ? formatHostPort(swarm.address) : null,
      peerListen: swarm.libp2p ? formatMultiaddr(swarm.libp2p) : null,
      openBlobs: swarm.openBlobs(),
      peers: swarm.peers(),
    },
    discovery: swarm.overlay?.status() ?? null,
  }));
  app.get('/api/v1/openapi.json', async () => openApiDocument);
}
