/** Blobs: pull, existence and deletion (distribution-spec, "Pulling blobs", "Deleting Blobs"). */

import type { FastifyReply, FastifyRequest } from 'fastify';
import type { BlobReader } from '#blobs';
import { type ByteSource, sendBody } from '#http';
import { type Digest, OciError, parseDigest, parseRange, type RepositoryName } from '#oci';
import { followIncoming } from '../upstream/index.ts';
import { type Call, namesEntity, type Registry, type Verb } from './call.ts';
import { candidates, findAnywhere, findIn } from './lookup.ts';

/** Agents give up on an answer after 20 s. */
const COMPLETE_MS = 15_000;

/**
 * GET and HEAD /v2/<name>/blobs/<digest>. Never content-encoded: the digest is of these bytes. A
 * single range is honoured always; several are refused, which zstd:chunked clients understand.
 */
export const getBlob: Verb<'blob'> = async (registry, call) => {
  const opened = await openBlob(registry, call);
  if ('comesFrom' in opened) return answerFromUpstream(opened, registry, call);
  const { name, reader } = opened;
  try {
    // Who asks whether it is here will not send it: it must stay until a manifest comes.
    if (call.request.method === 'HEAD' && !(await registry.metadata.relyOnBlob(name, reader.digest))) {
      throw new OciError('BLOB_UNKNOWN', undefined, { digest: reader.digest });
    }
    await answerWith(reader, registry, call);
  } finally {
    await reader.close();
  }
  return call.reply;
};

/** DELETE /v2/<name>/blobs/<digest>: takes it out of the repository; bytes that nobody holds go. */
export const deleteBlob: Verb<'blob'> = async (registry, { reply, path }) => {
  const digest = parseDigest(path.digest);
  await registry.perDigest.run(digest, async () => {
    const { linked, elsewhere } = await registry.metadata.unlinkBlob(path.name, digest);
    if (!linked) throw new OciError('BLOB_UNKNOWN', undefined, { digest });
    if (!elsewhere) await registry.discard(digest);
  });
  return reply.status(202).header('docker-content-digest', digest).send();
};

interface HeldBlob {
  readonly name: RepositoryName;
  readonly reader: BlobReader;
}

/** Not here, but perhaps in one of these repositories of upstreams. */
interface AbsentBlob {
  readonly digest: Digest;
  readonly comesFrom: readonly RepositoryName[];
}

export type OpenedBlob = HeldBlob | AbsentBlob;

/**
 * Opens a blob that the named repository, or the one it stands for, holds; or says which upstreams
 * are to be asked for it.
 * @throws OciError DIGEST_INVALID, BLOB_UNKNOWN
 */
export async function openBlob(
  registry: Registry,
  call: Pick<Call<'blob' | 'torrent' | 'leaves'>, 'path' | 'query' | 'admitted'>,
): Promise<OpenedBlob> {
  const digest: Digest = parseDigest(call.path.digest);
  const names = candidates(call);
  const place = await findIn(names, async (name) =>
    (await registry.metadata.hasBlob(name, digest)) ? name : undefined,
  );
  const reader = place && (await registry.blobs.open(digest));
  if (reader) return { name: place.name, reader };
  const comesFrom = names.filter(registry.upstreams.owns);
  if (comesFrom.length === 0) throw new OciError('BLOB_UNKNOWN', undefined, { digest });
  return { digest, comesFrom };
}

/** A blob that must still come: its size for a HEAD, else its bytes as they come. */
async function answerFromUpstream(
  { digest, comesFrom }: AbsentBlob,
  registry: Registry,
  call: Call<'blob'>,
): Promise<FastifyReply> {
  const { upstreams } = registry;
  if (call.request.method === 'HEAD') {
    const place = await findAnywhere(comesFrom, (name) => upstreams.blobSize(name, digest));
    await answerWith({ digest, size: place?.found ?? 0, read: nothing }, registry, call);
    return call.reply;
  }
  const place = await findAnywhere(comesFrom, async (name) => ({
    incoming: await upstreams.start(name, digest),
  }));
  const incoming = place?.found.incoming;
  if (incoming === undefined) {
    const { reader } = await completeBlob(registry, call, { digest, comesFrom });
    await answerWith(reader, registry, call).finally(() => reader.close());
    return call.reply;
  }
  const { raw } = call.reply;
  const { read } = followIncoming(incoming);
  // Clients wait for the headers less long than for a body.
  const source = { digest, size: incoming.size, read, slow: true };
  await answerWith(source, registry, call).catch((error: unknown) => {
    // The connection was cut; why the fetch failed was logged by it, once for all its clients.
    if (!raw.headersSent) throw error;
  });
  return call.reply;
}

const nothing = async (): Promise<void> => undefined;

/** Waits for a blob from its upstream. @throws OciError BLOB_UNKNOWN, DENIED, UNAVAILABLE when it takes too long */
export async function completeBlob(
  registry: Registry,
  call: Pick<Call<'blob' | 'torrent'>, 'path' | 'query' | 'admitted'>,
  { digest, comesFrom }: AbsentBlob,
): Promise<HeldBlob> {
  await findAnywhere(comesFrom, async (name) => {
    await registry.upstreams.complete(name, digest, COMPLETE_MS);
    return name;
  });
  const opened = await openBlob(registry, call);
  if ('reader' in opened) return opened;
  throw new OciError('BLOB_UNKNOWN', undefined, { digest });
}

/** A range is of a GET, and of the bytes that If-Range names (RFC 9110, sections 13.1.5 and 14.2). */
function rangeOf({ method, headers }: FastifyRequest, etag: string): string | undefined {
  const condition = headers['if-range'];
  return method === 'GET' && (condition === undefined || condition === etag) ? headers.range : undefined;
}

async function answerWith(
  reader: ByteSource & { readonly digest: Digest; readonly size: number },
  registry: Registry,
  { request, reply }: Call<'blob'>,
): Promise<void> {
  const { digest, size } = reader;
  const etag = `"${digest}"`;
  reply.headers({ 'docker-content-digest': digest, etag, 'accept-ranges': 'bytes' });
  if (namesEntity(request.headers['if-none-match'], etag)) {
    reply.status(304).send();
    return;
  }
  const range = parseRange(rangeOf(request, etag), size);
  if (range === 'multiple')
    throw new OciError('RANGE_INVALID', 'one range at a time', undefined, { status: 400 });
  if (range === 'unsatisfiable') {
    throw new OciError('RANGE_INVALID', undefined, undefined, {
      headers: { 'content-range': `bytes */${size}` },
    });
  }
  if (range) reply.status(206).header('content-range', `bytes ${range.start}-${range.end}/${size}`);
  reply.headers({
    'content-type': 'application/octet-stream',
    'content-length': range ? range.end - range.start + 1 : size,
  });
  if (request.method === 'HEAD') {
    reply.send();
    return;
  }
  const span = range ? { start: range.start, end: range.end + 1 } : { start: 0, end: size };
  const { read, slow = false } = reader;
  // What still comes from an upstream is not yet known to be what its name says.
  const source = { read, slow, name: slow ? undefined : digest };
  await sendBody(reply, source, span, (bytes) => registry.countPayload('out', bytes));
}
