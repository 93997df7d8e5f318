/**
 * Admission at the origin, under `--admission token`: it admits members, and refuses strangers.
 *
 * | what                          | who                                                                       |
 * | ----------------------------- | ------------------------------------------------------------------------- |
 * | inventories                   | members                                                                   |
 * | /api/v1/torrents/<infohash>   | members; with access control also who has the right `join`                |
 * | announce, scrape              | who has the passkey that came with the blob's metainfo                    |
 * | metainfo, drafts, leaves      | members, and users, that may pull the blob                                |
 * | the rest of /v2               | as access control says; without it members, and this machine itself       |
 * | management                    | as access control says; without it this machine itself                    |
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  type ClusterKey,
  checkClusterPasskey,
  clusterKeyFile,
  createGuard,
  createRefusals,
  type Guard,
  membershipForSwarm,
  readClusterKey,
  registerRevocations,
  signClusterPasskey,
} from '#cluster';
import { ConfigError } from '#config';
import type { Database } from '#database';
import { isFromHere, ProblemError } from '#http';
import { OciError } from '#oci';
import type { SwarmMembership } from '#swarm';
import type { Logger, Metrics } from '#telemetry';
import type { Access, Passkeys } from '../access/index.ts';
import { openAuthority } from './authority.ts';
import { registerCluster } from './routes.ts';

export interface OriginCluster {
  readonly id: string;
  readonly guard: Guard;
  /** Adds the routes, and guards all others; before access control's guard. */
  register(app: FastifyInstance): void;
  /** Access control with admission in front of it. */
  inFrontOf(access: Access): Access;
  /** For the origin's own place in the swarm. */
  asMember(peerId: string): Promise<SwarmMembership>;
  close(): void;
}

/** How long the URLs of a .torrent hold where there are no users; as access.passkey-lifetime. */
const PASSKEY_MS = 12 * 3_600_000;

/** Routes that everybody may ask, or that check by themselves. */
const OPEN =
  /^\/(?:healthz|readyz|metrics|announce|scrape|api\/v1\/openapi\.json|api\/v1\/cluster(?:\/(?:join|renew|revocations))?)$/;
const MEMBERS = /^\/api\/v1\/(?:agents|torrents)\/:/;

/** The cluster's key. @throws ConfigError when there is none; `wanted` says why there should be one */
export async function demandKey(
  data: string,
  keyFile: string | undefined,
  wanted: string,
): Promise<ClusterKey> {
  const file = keyFile ?? clusterKeyFile(data);
  const key = await readClusterKey(file);
  if (key !== undefined) return key;
  throw new ConfigError([
    `${wanted}: make its key with 'shoal cluster init --data ${data}', or copy cluster.key of another origin to ` +
      `${file}; or pass --admission open to let everybody in`,
  ]);
}

export async function openCluster(options: {
  readonly key: ClusterKey;
  readonly db: Database;
  readonly lifetimeMs: number;
  /** Whether there are users and rules. */
  readonly hasAccess: boolean;
  readonly now?: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}): Promise<OriginCluster> {
  const { key, db, lifetimeMs, hasAccess, log, metrics } = options;
  const now = options.now ?? Date.now;
  const authority = await openAuthority({ key, db, lifetimeMs, now, log });
  const { cluster } = authority;
  const refused = createRefusals(metrics, log);
  const guard = createGuard(cluster, { now, onRefused: (reason) => refused('http', reason) });
  let renewal: NodeJS.Timeout | undefined;

  const judge = async (request: FastifyRequest): Promise<void> => {
    const route = request.routeOptions.url;
    if (route === undefined || OPEN.test(route) || /^\/v2(?:\/|$)/.test(route)) return;
    if (MEMBERS.test(route)) {
      // Of these, access control opens the look-ups of blobs; inventories are for members alone.
      if (hasAccess && route.startsWith('/api/v1/torrents/')) return;
      await guard.demand(request.raw);
      return;
    }
    if (hasAccess || isFromHere(request.raw)) return;
    throw new ProblemError(
      403,
      'Forbidden',
      'management is for this machine alone, unless the origin has users (access.htpasswd)',
    );
  };

  return {
    id: cluster.id,
    guard,
    register(app) {
      registerRevocations(app, guard);
      app.addHook('onRequest', judge);
      registerCluster(app, { authority, guard, now, log, metrics });
    },
    inFrontOf: (access) => ({
      ...access,
      async admit(call) {
        const { request, path, query } = call;
        const member = await guard.identify(request.raw);
        if (access.open && member === undefined && !isFromHere(request.raw)) {
          const passkey = query.get('passkey') ?? '';
          const opened =
            path.kind === 'blob' &&
            /^(?:GET|HEAD)$/.test(request.method) &&
            checkClusterPasskey(key, cluster, 'blob', path.digest, passkey, now());
          if (!opened) throw denied('this origin serves the members of its cluster');
        }
        const admitted = await access.admit(call);
        if (member === undefined) {
          if ((path.kind === 'torrent' || path.kind === 'leaves') && !admitted.isUser) {
            throw denied('metainfo is for members of the cluster, and for users who log in');
          }
          return admitted;
        }
        if (!access.open) return admitted;
        const passkeys = (_repository: string, digest: string, infoHash: string): Passkeys => {
          const until = now() + PASSKEY_MS;
          return {
            announce: signClusterPasskey(key, 'announce', infoHash, member.peerId, until),
            blob: signClusterPasskey(key, 'blob', digest, member.peerId, until),
          };
        };
        return { ...admitted, passkeys };
      },
      mayAnnounce: (infoHash, passkey) =>
        access.open
          ? checkClusterPasskey(key, cluster, 'announce', infoHash, passkey ?? '', now())
          : access.mayAnnounce(infoHash, passkey),
    }),
    async asMember(peerId) {
      let own = await authority.ownMembership(peerId);
      renewal = setInterval(
        () => {
          authority.ownMembership(peerId).then(
            (text) => {
              own = text;
            },
            (error: unknown) => log.error({ err: error }, 'own membership not renewed'),
          );
        },
        Math.min(lifetimeMs / 2, 24 * 3_600_000),
      ).unref();
      return membershipForSwarm(
        cluster,
        () => own,
        (reason, peer) => refused('swarm', reason, peer),
      );
    },
    close: () => clearInterval(renewal),
  };

  function denied(reason: string): OciError {
    refused('http', reason);
    return new OciError('DENIED', reason);
  }
}
