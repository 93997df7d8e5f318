import { digestHex, OciError } from '#oci';
import { encodeMetainfo } from '#torrent';
import { completeBlob, openBlob } from './blobs.ts';
import type { Verb } from './call.ts';

/**
 * GET /v2/<name>/_shoal/torrents/<digest>: the blob's metainfo, for whoever may read the blob. Any
 * BitTorrent client can use it: the tracker, the blob as web seed (BEP 19) and our listener are in it.
 */
export const getTorrent: Verb<'torrent'> = async (registry, call) => {
  const opened = await openBlob(registry, call);
  // The hashes of its pieces need all of its bytes.
  const { name, reader } = 'reader' in opened ? opened : await completeBlob(registry, call, opened);
  const { digest } = reader;
  await reader.close();
  const metainfo = await registry.torrents.of(digest);
  if (metainfo === undefined) throw new OciError('BLOB_UNKNOWN', undefined, { digest });
  const passkeys = call.admitted.passkeys(name, digest, metainfo.infoHash);
  const sources = registry.sourcesFor(call.request, `/v2/${name}/blobs/${digest}`, passkeys);
  const file = Buffer.from(encodeMetainfo(metainfo, sources));
  return call.reply
    .headers({
      'content-type': 'application/x-bittorrent',
      'content-disposition': `attachment; filename="${digestHex(digest)}.torrent"`,
      'docker-content-digest': digest,
    })
    .send(file);
};
