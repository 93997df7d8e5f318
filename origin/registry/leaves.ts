import { OciError } from '#oci';
import { LEAVES_MEDIA_TYPE } from '#torrent';
import { openBlob } from './blobs.ts';
import { namesEntity, type Verb } from './call.ts';

/**
 * GET /v2/<name>/_shoal/leaves/<digest>: the blob's leaf hashes, for whoever may read the blob. A
 * reader of small ranges checks 16 KiB with them instead of a whole piece.
 */
export const getLeaves: Verb<'leaves'> = async (registry, call) => {
  const opened = await openBlob(registry, call);
  // Who reads lazily will not wait until all of it has come from its upstream.
  if ('comesFrom' in opened) {
    throw new OciError('BLOB_UNKNOWN', 'the blob is not here yet', { digest: opened.digest });
  }
  const { reader } = opened;
  const { digest } = reader;
  await reader.close();
  // They follow from the digest, so they never change.
  const etag = `"${digest}/leaves"`;
  call.reply.headers({ 'docker-content-digest': digest, etag });
  if (namesEntity(call.request.headers['if-none-match'], etag)) return call.reply.status(304).send();
  const list = await registry.leaves.of(digest);
  if (list === undefined) throw new OciError('BLOB_UNKNOWN', undefined, { digest });
  return call.reply.type(LEAVES_MEDIA_TYPE).send(list);
};
