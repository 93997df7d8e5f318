/**
 * `/v2/…`: the table of the distribution API. A path is read once, here; what it names and the
 * method choose the verb. Whatever is not in the table is refused with the specification's error.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type DistributionPath, OciError, parseDistributionPath, type RepositoryName } from '#oci';
import { asOciError } from '../store-error.ts';
import { base } from './base.ts';
import { deleteBlob, getBlob } from './blobs.ts';
import type { Registry, Verb } from './call.ts';
import { catalog } from './catalog.ts';
import { discover, discoverAll } from './discover.ts';
import { getLeaves } from './leaves.ts';
import { answerNamespace, standsFor } from './lookup.ts';
import { deleteManifest, getManifest, putManifest } from './manifests.ts';
import { referrers } from './referrers.ts';
import { listTags } from './tags.ts';
import { getTorrent } from './torrents.ts';
import { appendChunk, beginUpload, cancelUpload, finishUpload, uploadStatus } from './uploads.ts';

type Kind = DistributionPath['kind'];
type Verbs<K extends Kind> = Readonly<Record<string, Verb<K>>>;

const table: { readonly [K in Kind]: Verbs<K> } = {
  base: { GET: base, HEAD: base },
  catalog: { GET: catalog, HEAD: catalog },
  extensions: { GET: discoverAll, HEAD: discoverAll },
  tags: { GET: listTags, HEAD: listTags },
  manifest: { GET: getManifest, HEAD: getManifest, PUT: putManifest, DELETE: deleteManifest },
  blob: { GET: getBlob, HEAD: getBlob, DELETE: deleteBlob },
  uploads: { POST: beginUpload },
  upload: { GET: uploadStatus, PATCH: appendChunk, PUT: finishUpload, DELETE: cancelUpload },
  referrers: { GET: referrers, HEAD: referrers },
  torrent: { GET: getTorrent, HEAD: getTorrent },
  leaves: { GET: getLeaves, HEAD: getLeaves },
  discover: { GET: discover, HEAD: discover },
};

export function registerRegistry(app: FastifyInstance, registry: Registry): void {
  const handle = (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    reply.header('docker-distribution-api-version', 'registry/2.0');
    return dispatch(registry, request, reply, parseDistributionPath(request.url));
  };
  app.all('/v2', handle);
  app.all('/v2/*', handle);
}

async function dispatch<K extends Kind>(
  registry: Registry,
  request: FastifyRequest,
  reply: FastifyReply,
  path: Extract<DistributionPath, { kind: K }>,
): Promise<unknown> {
  const verbs: Verbs<K> = table[path.kind as K];
  const verb = Object.hasOwn(verbs, request.method) ? verbs[request.method] : undefined;
  if (verb === undefined) {
    const allow = Object.keys(verbs).join(', ');
    throw new OciError('UNSUPPORTED', `${request.method} is not supported here`, undefined, {
      headers: { allow },
    });
  }
  const question = request.url.indexOf('?');
  const query = new URLSearchParams(question < 0 ? '' : request.url.slice(question + 1));
  answerNamespace(reply, query);
  const names = 'name' in path ? standsFor(path.name, query) : [];
  const admitted = await registry.access.admit({ request, path, query, names });
  if ('name' in path && registry.upstreams.owns(path.name)) refusePush(request.method, path.name);
  try {
    return await verb(registry, { request, reply, path, query, admitted });
  } catch (error) {
    const told = asOciError(error);
    if (told instanceof OciError && told.code === 'UNAVAILABLE') {
      request.log.warn({ err: error, reqId: request.id }, 'refused: the storage cannot be used now');
    }
    throw told;
  }
}

/** Deleting takes a copy away, which comes again when it is asked for; pushing would make another image of it. */
function refusePush(method: string, name: RepositoryName): void {
  if (!/^(?:PUT|POST|PATCH)$/.test(method)) return;
  const host = name.slice(0, name.indexOf('/'));
  const message = `${name} is a copy of what its upstream ${host} has: push there, or to a name that does not begin with ${host}/`;
  throw new OciError('DENIED', message);
}
