/** Blobs: pull, existence and deletion (distribution-spec, "Pulling blobs", "Deleting Blobs"). */
import type { BlobReader } from '#blobs';
import { sendBody } from '#http';
import { type Digest, OciError, parseDigest, parseRange, type RepositoryName } from '#oci';
import { type Call, namesEntity, type Registry, type Verb } from './call.ts';
import { candidates, findIn } from './lookup.ts';

/**
 * GET and HEAD /v2/<name>/blobs/<digest>. Never content-encoded: the digest is of these bytes. A
 * single range is honoured always; several are refused, which zstd:chunked clients understand.
 */
export const getBlob: Verb<'blob'> = async (registry, call) => {
  const { name, reader } = await openBlob(registry, call);
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

/**
 * Opens a blob that the named repository, or the one it stands for, holds.
 * @throws OciError DIGEST_INVALID, BLOB_UNKNOWN
 */
export async function openBlob(
  registry: Registry,
  call: Pick<Call<'blob' | 'torrent' | 'leaves'>, 'path' | 'query' | 'admitted'>,
): Promise<{ readonly name: RepositoryName; readonly reader: BlobReader }> {
  const digest: Digest = parseDigest(call.path.digest);
  const place = await findIn(candidates(call), async (name) =>
    (await registry.metadata.hasBlob(name, digest)) ? name : undefined,
  );
  const reader = place && (await registry.blobs.open(digest));
  if (!reader) throw new OciError('BLOB_UNKNOWN', undefined, { digest });
  return { name: place.name, reader };
}

async function answerWith(
  reader: BlobReader,
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
  const current = request.headers['if-range'] === undefined || request.headers['if-range'] === etag;
  const range = parseRange(current ? request.headers.range : undefined, size);
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
  await sendBody(reply, reader, span, (bytes) => registry.countPayload('out', bytes));
}
