/**
 * The body of an answer while its blob is still being downloaded: verified bytes in order, read in
 * large chunks, no further ahead than the client takes them.
 */
import { Readable } from 'node:stream';
import type { ByteRange } from '#oci';
import type { Download } from './download.ts';
import { type MirrorSource, mirrorSource } from './metrics.ts';

const CHUNK_BYTES = 512 * 1024;
const HIGH_WATER_BYTES = 1024 * 1024;

/**
 * Bytes `range.start` to `range.end` inclusive. The stream fails, and with it the connection is cut,
 * when the download fails. Destroying the stream does not disturb the download.
 */
export function streamDownload(
  download: Download,
  range: ByteRange,
  onBytes: (source: MirrorSource, bytes: number) => void,
): Readable {
  const { pieceLength } = download.metainfo;
  const pieceAt = (position: number): number => Math.floor(position / pieceLength);
  const follower = download.follow(pieceAt(range.start));
  let position = range.start;

  async function nextChunk(): Promise<Buffer> {
    const piece = pieceAt(position);
    await follower.wait(piece);
    const end = Math.min((piece + 1) * pieceLength, range.end + 1);
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - position));
    await download.read(position, chunk);
    position += chunk.length;
    onBytes(mirrorSource(download.source(piece)), chunk.length);
    return chunk;
  }

  return new Readable({
    highWaterMark: HIGH_WATER_BYTES,
    read() {
      if (position > range.end) {
        this.push(null);
        return;
      }
      nextChunk().then(
        (chunk) => this.push(chunk),
        (error: Error) => this.destroy(error),
      );
    },
    destroy(error, callback) {
      follower.close();
      callback(error);
    },
  });
}
