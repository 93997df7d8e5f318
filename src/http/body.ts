/** Bodies of requests and answers: bounded, counted by what really passed, and honest about a cut. */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';

/** Bytes a write hands to the socket at once; the payload of a cut connection is known this exactly. */
const WRITE_BYTES = 256 * 1024;

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

/**
 * Sends `source` as the body of an answer whose status and headers, Content-Length among them, are
 * set on `reply`. `onSent` is told how many bytes of the body the kernel took, also when the client
 * goes away. When the source fails the connection is cut, so that nobody takes a part for the whole.
 * @throws the source's error, after the cut
 */
export async function sendBody(
  reply: FastifyReply,
  source: Readable,
  onSent: (bytes: number) => void,
): Promise<void> {
  const { raw } = reply.hijack();
  const leave = (): void => void source.destroy();
  raw.once('close', leave);
  try {
    raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>);
    for await (const chunk of source as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length && !raw.destroyed; at += WRITE_BYTES) {
        const part = chunk.subarray(at, at + WRITE_BYTES);
        const flows = raw.write(part, (error) => {
          if (!error) onSent(part.length);
        });
        if (!flows) await drained(raw);
      }
    }
    raw.end();
  } catch (error) {
    const gone = raw.destroyed;
    raw.destroy();
    if (!gone) throw error;
  } finally {
    raw.off('close', leave);
    source.destroy();
  }
}

/** Resolves when more can be written, or the client is gone; the listener's idle timeout is its deadline. */
function drained(raw: FastifyReply['raw']): Promise<void> {
  if (raw.destroyed || !raw.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      raw.off('drain', done);
      raw.off('close', done);
      resolve();
    };
    raw.on('drain', done);
    raw.on('close', done);
  });
}
