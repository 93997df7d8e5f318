/** `GET|HEAD /v2/<name>/manifests/<reference>` (OCI distribution-spec, "Pulling manifests"). */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MANIFEST_MEDIA_TYPES, parseReference } from '#oci';
import type { Client } from '../client.ts';
import type { Repository } from '../repository.ts';
import type { Resolver } from '../resolver.ts';
import type { Serves } from '../serves.ts';
import { matchesEtag } from './etag.ts';

export async function answerManifest(
  context: { readonly resolver: Resolver; readonly serves: Serves },
  exchange: {
    readonly repository: Repository;
    readonly reference: string;
    readonly client: Client | undefined;
    readonly request: FastifyRequest;
    readonly reply: FastifyReply;
  },
): Promise<FastifyReply> {
  const { request, reply } = exchange;
  const manifest = await context.resolver.resolve(exchange.repository, parseReference(exchange.reference), {
    accept: acceptOf(request),
    requestId: request.id,
    as: exchange.client,
  });
  context.serves.manifest(exchange.repository, exchange.reference, manifest, reply.elapsedTime);
  reply.header('docker-content-digest', manifest.digest).header('etag', `"${manifest.digest}"`);
  // RFC 7234, section 5.5.1: no origin confirmed this answer.
  if (manifest.stale) reply.header('warning', '110 shoal "Response is Stale"');
  if (matchesEtag(request.headers['if-none-match'], manifest.digest)) return reply.status(304).send();
  reply.type(manifest.mediaType).header('content-length', manifest.bytes.length);
  return request.method === 'HEAD' ? reply.send() : reply.send(manifest.bytes);
}

/** A client that names no manifest type (curl) takes any: what it would get is decided by the origin. */
function acceptOf(request: FastifyRequest): string {
  const { accept } = request.headers;
  return accept === undefined || accept === '*/*' ? [...MANIFEST_MEDIA_TYPES, '*/*'].join(', ') : accept;
}
