/** The frames of yamux: twelve bytes of header, and for data as many bytes of body as it says. */
import { MAX_PLAINTEXT } from './noise.ts';

export const HEADER_BYTES = 12;
export const TYPE = { data: 0, windowUpdate: 1, ping: 2, goAway: 3 } as const;
export const FLAG = { syn: 1, ack: 2, fin: 4, rst: 8 } as const;

/** One frame of ours fills one Noise message. */
export const FRAME_BYTES = MAX_PLAINTEXT - HEADER_BYTES;

/** The peer broke the protocol. */
export class YamuxError extends Error {}

export interface Header {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly length: number;
}

export function encodeHeader(type: number, flags: number, id: number, length: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes[1] = type;
  bytes.writeUInt16BE(flags, 2);
  bytes.writeUInt32BE(id, 4);
  bytes.writeUInt32BE(length, 8);
  return bytes;
}

export interface FrameReader {
  /** Throws YamuxError for a version that is not 0, and whatever `onHeader` throws. */
  read(chunk: Buffer): void;
}

/**
 * Parts what arrives into headers and pieces of bodies, handed on as they come: nothing is gathered but
 * a header that arrived in parts.
 */
export function createFrameReader(receiver: {
  header(header: Header): void;
  /** A piece of the body of the data frame that was announced last. */
  body(piece: Buffer): void;
  /** What is left of a chunk is dropped once the session is over. */
  over(): boolean;
}): FrameReader {
  const header = Buffer.alloc(HEADER_BYTES);
  let headerBytes = 0;
  let bodyLeft = 0;

  function readHeader(): void {
    if (header[0] !== 0) throw new YamuxError(`version ${header[0]}`);
    const type = header[1] ?? 0;
    const length = header.readUInt32BE(8);
    if (type === TYPE.data) bodyLeft = length;
    receiver.header({ type, flags: header.readUInt16BE(2), id: header.readUInt32BE(4), length });
  }

  return {
    read(chunk) {
      let at = 0;
      while (at < chunk.length && !receiver.over()) {
        if (bodyLeft > 0) {
          const take = Math.min(bodyLeft, chunk.length - at);
          const piece = chunk.subarray(at, at + take);
          bodyLeft -= take;
          at += take;
          receiver.body(piece);
          continue;
        }
        const copied = chunk.copy(header, headerBytes, at, at + HEADER_BYTES - headerBytes);
        headerBytes += copied;
        at += copied;
        if (headerBytes < HEADER_BYTES) return;
        headerBytes = 0;
        readHeader();
      }
    },
  };
}
