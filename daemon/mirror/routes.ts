/**
 * The mirror's `/v2`: reads only. Every request is counted by what it asked for, and answers to
 * `?ns=` name the namespace again (OCI-Namespace), as containerd's hosts do.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { BlobStore } from '#blobs';
import { type DistributionPath, OciError, parseDistributionPath } from '#oci';
import type { Cache } from '../cache.ts';
import type { Downloads } from '../downloads.ts';
import type { LazyReads } from '../lazy/index.ts';
import type { AgentMetrics, RequestKind } from '../metrics.ts';
import type { OriginClient } from '../origin-client.ts';
import { type Repository, toRepository } from '../repository.ts';
import type { Resolver } from '../resolver.ts';
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
  readonly metrics: AgentMetrics;
}

export function registerMirror(app: FastifyInstance, context: MirrorContext): void {
  const kinds = new WeakMap<FastifyRequest, RequestKind>();

  async function answer(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    reply.header('docker-distribution-api-version', 'registry/2.0');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      throw new OciError('UNSUPPORTED', 'this is a mirror: push to the registry itself', undefined, {
        headers: { allow: 'GET, HEAD' },
      });
    }
    const path = parseDistributionPath(request.url);
    kinds.set(request, kindOf(path));
    if (path.kind === 'base') return reply.type('application/json').send('{}');
    if (path.kind === 'catalog') throw notOfAMirror();
    const ns = namespaceOf(request);
    const repository = toRepository(path.name, ns);
    if (ns !== undefined && ns !== '') reply.header('oci-namespace', ns);
    return answerFor(path, repository, request, reply);
  }

  function answerFor(
    path: Exclude<DistributionPath, { kind: 'base' | 'catalog' }>,
    repository: Repository,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<unknown> {
    switch (path.kind) {
      case 'manifest':
        return answerManifest(context, { repository, reference: path.reference, request, reply });
      case 'blob':
        return answerBlob(context, { repository, digest: path.digest, request, reply });
      case 'tags':
        return answerPassThrough(context, { repository, path: 'tags/list', request, reply });
      case 'referrers':
        return answerPassThrough(context, { repository, path: `referrers/${path.digest}`, request, reply });
      default:
        throw notOfAMirror();
    }
  }

  app.register((scope, _options, done) => {
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
