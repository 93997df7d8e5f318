import { createHash } from 'node:crypto';
import { sha256DigestOf } from '#oci';
import { createMetainfo, type Metainfo, pieceLengthFor } from '#torrent';

/** The metainfo of a small blob that is in memory, computed the plain way. */
export function metainfoOf(bytes: Buffer): Metainfo {
  const pieceLength = pieceLengthFor(bytes.length);
  const hashes: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceLength) {
    const piece = bytes.subarray(at, at + pieceLength);
    hashes.push(createHash('sha1').update(piece).digest());
  }
  return createMetainfo({
    digest: sha256DigestOf(bytes),
    length: bytes.length,
    pieces: Buffer.concat(hashes),
  });
}
