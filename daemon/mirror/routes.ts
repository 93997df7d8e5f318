/**
 * The mirror's `/v2`: reads only, and only what the client may read. Every request is counted by what it asked for, and answers to
 * `?ns=` name the namespace again (OCI-Namespace), as containerd's hosts do.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { BlobStore } from '#blobs';
import { type DistributionPath, OciError, parseDigest, parseDistributionPath } from '#oci';
import type { Accounts } from '../accounts/index.ts';
import type { Cache } from '../cache.ts';
import type { Client } from '../client.ts';
import { createCrowd } from '../crowd.ts';
import type { Downloads } from '../downloads.ts';
import type { LazyReads } from '../lazy/index.ts';
import type { AgentMetrics, RequestKind } from '../metrics.ts';
import type { OriginClient } from '../origin-client.ts';
import { type Repository, toRepository } from '../repository.ts';
import type { Resolver } from '../resolver.ts';
import type { Rights } from '../rights.ts';
import type { Serves } from '../serves.ts';
import { answerBlob } from './blobs.ts';
import { answerManifest } from './manifests.ts';
import { answerPassThrough } from './pass-through.ts';

export interface MirrorContext {
  readonly store: BlobStore;
  readonly cache: Cache;
  readonly downloads: Downloads;
  readonly lazy: LazyReads;
  readonly resolver: Resolver;
  readonly origin: OriginClient;
  readonly rights: Rights;
  readonly serves: Serves;
  readonly metrics: AgentMetrics;
  readonly accounts: Accounts;
  /** Requests that are answered at once; more are refused. */
  readonly mostRequests: number;
}

export function registerMirror(app: FastifyInstance, context: MirrorContext): void {
  const kinds = new WeakMap<FastifyRequest, RequestKind>();
  const crowd = createCrowd(context.mostRequests);

  async function answer(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    reply.header('docker-distribution-api-version', 'registry/2.0');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      throw new OciError('UNSUPPORTED', 'this is a mirror: push to the registry itself', undefined, {
        headers: { allow: 'GET, HEAD' },
      });
    }
    const path = parseDistributionPath(request.url);
    kinds.set(request, kindOf(path));
    if (path.kind === 'catalog' || path.kind === 'extensions') throw notOfAMirror();
    const client = await context.rights.clientOf(request.headers.authorization);
    if (path.kind === 'base') {
      if (client) await context.rights.enter(client, { requestId: request.id });
      return reply.type('application/json').send('{}');
    }
    const ns = namespaceOf(request);
    const repository = toRepository(path.name, ns);
    if (ns !== undefined && ns !== '') reply.header('oci-namespace', ns);
    return answerFor(path, { repository, client, request, reply });
  }

  async function answerFor(
    path: Exclude<DistributionPath, { kind: 'base' | 'catalog' | 'extensions' }>,
    exchange: {
      readonly repository: Repository;
      readonly client: Client | undefined;
      readonly request: FastifyRequest;
      readonly reply: FastifyReply;
    },
  ): Promise<unknown> {
    const { client, repository, request } = exchange;
    switch (path.kind) {
      case 'manifest':
        return answerManifest(context, { ...exchange, reference: path.reference });
      case 'blob':
        if (client) {
          const ask = { requestId: request.id };
          await context.rights.mayPull(client, repository, 'blobs', parseDigest(path.digest), ask);
        }
        return answerBlob(context, { ...exchange, digest: path.digest });
      case 'tags':
        return answerPassThrough(context, { ...exchange, path: 'tags/list' });
      case 'referrers':
        return answerPassThrough(context, { ...exchange, path: `referrers/${path.digest}` });
      default:
        throw notOfAMirror();
    }
  }

  app.register((scope, _options, done) => {
    scope.addHook('onRequest', async (_request, reply) => crowd.hold(reply.raw));
    scope.addHook('onResponse', async (request, reply) => {
      context.metrics.mirrorRequest(kinds.get(request) ?? 'other', reply.statusCode);
    });
    scope.all('/v2', answer);
    scope.all('/v2/*', answer);
    done();
  });
}

function notOfAMirror(): OciError {
  return new OciError('UNSUPPORTED', 'the mirror does not have this part of the API', undefined, {
    status: 404,
  });
}

/** The first `ns`; the query is read here, as the path is, so that both decode alike. */
function namespaceOf(request: FastifyRequest): string | undefined {
  const question = request.url.indexOf('?');
  if (question < 0) return undefined;
  return new URLSearchParams(request.url.slice(question + 1)).get('ns') ?? undefined;
}

function kindOf(path: DistributionPath): RequestKind {
  switch (path.kind) {
    case 'base':
    case 'manifest':
    case 'blob':
    case 'tags':
    case 'referrers':
      return path.kind;
    default:
      return 'other';
  }
}
