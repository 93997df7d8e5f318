/** Hashes of an object's bytes, read once from S3 as they come. */
import { createHash } from 'node:crypto';

/** Hashed in one go: what comes from the socket is smaller anyway. */
type Bytes = AsyncIterable<Uint8Array>;

/** The hex digest of all bytes. */
export async function hashOf(algorithm: string, bytes: Bytes): Promise<string> {
  const hash = createHash(algorithm);
  for await (const chunk of bytes) hash.update(chunk);
  return hash.digest('hex');
}

/** SHA-1 of each piece, 20 bytes each, one after another. */
export async function hashPieces(bytes: Bytes, size: number, pieceLength: number): Promise<Uint8Array> {
  const pieces = new Uint8Array(20 * Math.ceil(size / pieceLength));
  let hash = createHash('sha1');
  let piece = 0;
  let inPiece = 0;
  const endPiece = (): void => {
    pieces.set(hash.digest(), piece * 20);
    hash = createHash('sha1');
    piece += 1;
    inPiece = 0;
  };
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + pieceLength - inPiece);
      hash.update(part);
      inPiece += part.length;
      at += part.length;
      if (inPiece === pieceLength) endPiece();
    }
  }
  if (inPiece > 0) endPiece();
  return pieces;
}
