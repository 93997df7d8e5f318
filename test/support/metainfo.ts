import { createHash } from 'node:crypto';
import { type Digest, sha256DigestOf } from '#oci';
import { createMetainfo, type Metainfo, pieceLengthFor } from '#torrent';

/** The metainfo of a small blob that is in memory, computed the plain way; in the name of `digest` when that is given. */
export function metainfoOf(bytes: Buffer, digest: Digest = sha256DigestOf(bytes)): Metainfo {
  const pieceLength = pieceLengthFor(bytes.length);
  const hashes: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceLength) {
    const piece = bytes.subarray(at, at + pieceLength);
    hashes.push(createHash('sha1').update(piece).digest());
  }
  return createMetainfo({ digest, length: bytes.length, pieces: Buffer.concat(hashes) });
}
