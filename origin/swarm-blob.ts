/** Which blob a digest or an infohash names, for questions about its swarm. */
import { OciError, parseDigest } from '#oci';
import { type InfoHash, parseInfoHash } from '#torrent';
import type { Drafts } from './drafts.ts';
import type { Torrents } from './torrents.ts';

interface SwarmBlob {
  readonly infoHash: InfoHash;
  readonly digest: string;
  readonly size: number;
}

/** Undefined when it names nothing that is here. */
export async function identifySwarm(
  text: string,
  torrents: Pick<Torrents, 'of' | 'identify'>,
  drafts: Pick<Drafts, 'identify'>,
): Promise<SwarmBlob | undefined> {
  const infoHash = parseInfoHash(text);
  if (infoHash !== undefined) {
    const blob = drafts.identify(infoHash) ?? (await torrents.identify(infoHash));
    return blob && { infoHash, digest: blob.digest, size: blob.size };
  }
  try {
    const metainfo = await torrents.of(parseDigest(text));
    return metainfo && { infoHash: metainfo.infoHash, digest: metainfo.digest, size: metainfo.length };
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}
