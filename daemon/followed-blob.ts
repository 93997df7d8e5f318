/**
 * A running download as the body of an answer: verified bytes in the order of the blob, read as the
 * client takes them. Counts what the client got by where the agent had it from.
 */
import type { ByteSource } from '#http';
import type { Download } from './download.ts';
import { type MirrorSource, mirrorSource } from './metrics.ts';

export interface FollowedBlob extends ByteSource {
  stepAt(position: number): number;
  /** So many of the bytes that were read have reached the client. */
  sent(bytes: number): void;
  /** The client is gone, or has everything. A read that waits rejects; the download goes on. */
  close(): void;
}

/** `start`: the first byte that will be read; reads go forward from there. */
export function followBlob(
  download: Download,
  start: number,
  onSent: (source: MirrorSource, bytes: number) => void,
): FollowedBlob {
  const { pieceLength } = download.metainfo;
  const follower = download.follow(Math.floor(start / pieceLength));
  /** What was read and not yet sent, in order. */
  const pending: { readonly source: MirrorSource; bytes: number }[] = [];

  return {
    stepAt: download.stepAt,
    async read(position, into) {
      for (let at = 0; at < into.length; ) {
        const piece = Math.floor((position + at) / pieceLength);
        const length = Math.min(into.length - at, (piece + 1) * pieceLength - position - at);
        await follower.wait(piece, position + at + length - piece * pieceLength);
        await download.read(position + at, into.subarray(at, at + length));
        // What is given out before its piece is here came from the origin (see beginning.ts).
        const source = mirrorSource(download.source(piece) ?? 'origin-http');
        pending.push({ source, bytes: length });
        at += length;
      }
    },
    sent(bytes) {
      let left = bytes;
      for (let [first] = pending; first && left > 0; [first] = pending) {
        const taken = Math.min(left, first.bytes);
        onSent(first.source, taken);
        first.bytes -= taken;
        left -= taken;
        if (first.bytes === 0) pending.shift();
      }
    },
    close: () => follower.close(),
  };
}
