/** Bodies of requests and answers: bounded, counted by what really passed, and honest about a cut. */
import type { IncomingMessage } from 'node:http';
import type { FastifyReply } from 'fastify';

/** One read and one write. The payload of a cut connection is known this exactly. */
const PART_BYTES = 256 * 1024;
/** Parts of one answer that wait for its client; more would only fill memory. */
const PARTS_IN_FLIGHT = 2;
/** Buffers that are kept for the next answer. Allocating one per part would leave the memory to the collector's leisure. */
const KEPT_BUFFERS = 32;
const buffers: Buffer[] = [];

/**
 * The chunks of a request's body. Rejects when the client goes away before the body's end. Leaving
 * the loop early keeps the connection, so that an answer can still be sent.
 */
export function receiveBody(request: IncomingMessage): AsyncIterable<Buffer> {
  return request.iterator({ destroyOnReturn: false });
}

/** The whole of a small body, or undefined as soon as it is known to be larger than `maxBytes`. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of receiveBody(request)) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}

/** Bytes at known positions, such as a file's. */
export interface ByteSource {
  /** Fills `into` from `position`, or rejects. */
  read(position: number, into: Uint8Array): Promise<void>;
}

/**
 * Sends bytes `start` to `end` (exclusive) of `source` as the body of an answer whose status and
 * headers, Content-Length among them, are set on `reply`. `onSent` is told how many bytes of the body
 * the kernel took, also when the client goes away. When the source fails the connection is cut, so
 * that nobody takes a part for the whole.
 * @throws the source's error, after the cut
 */
export async function sendBody(
  reply: FastifyReply,
  source: ByteSource,
  { start, end }: { readonly start: number; readonly end: number },
  onSent: (bytes: number) => void,
): Promise<void> {
  const { raw } = reply.hijack();
  let inFlight = 0;
  let wake = (): void => undefined;
  const awake = (): void => wake();
  raw.on('close', awake);
  try {
    raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>);
    for (let at = start; at < end && !raw.destroyed; at += PART_BYTES) {
      const buffer = buffers.pop() ?? Buffer.allocUnsafeSlow(PART_BYTES);
      const part = buffer.subarray(0, Math.min(PART_BYTES, end - at));
      await source.read(at, part);
      inFlight += 1;
      raw.write(part, (error) => {
        inFlight -= 1;
        if (buffers.length < KEPT_BUFFERS) buffers.push(buffer);
        if (!error) onSent(part.length);
        wake();
      });
      // The idle timeout of the listener is this wait's deadline: it closes the connection.
      while (inFlight >= PARTS_IN_FLIGHT && !raw.destroyed) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    raw.end();
  } catch (error) {
    const gone = raw.destroyed;
    raw.destroy();
    if (!gone) throw error;
  } finally {
    raw.off('close', awake);
  }
}
