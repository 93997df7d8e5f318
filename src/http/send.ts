/** The bodies of answers: read and sent part by part, counted by what really passed, and honest about a cut. */
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { lendBuffer, takeBack, writeOff } from './part-buffers.ts';

/** Parts of one answer that wait for its client; more would only fill memory. */
const PARTS_IN_FLIGHT = 2;
/**
 * From this rate on an answer gets large parts. Slower clients would only hold them, and a source that
 * is slower, such as a running download, is passed on in small steps.
 */
const FAST_BYTES_PER_MS = 8 * 1024;
/** An answer up to here is one read and one write: in two steps a range of some KiB more would take half as long again. */
const ONE_PART_BYTES = 256 * 1024;

/** Bytes at known positions, such as a file's. */
export interface ByteSource {
  /** Fills `into` from `position`, or rejects. */
  read(position: number, into: Uint8Array): Promise<void>;
  /** The first bytes may be long in coming: the client gets the status and the headers before them. */
  readonly slow?: boolean;
  /** The most that is worth waiting for at a time from there, bytes. Default: as much as is sent at once. */
  readonly stepAt?: (position: number) => number;
}

/**
 * Sends bytes `start` to `end` (exclusive) of `source` as the body of an answer whose status and
 * headers, Content-Length among them, are set on `reply`. `onSent` is told how many bytes of the body
 * the kernel took, also when the client goes away. When the source fails the connection is cut, so
 * that nobody takes a part for the whole; when it fails before anything was sent, `reply` is still to
 * be answered, unless the source is slow.
 * @throws the source's error, after the cut
 */
export async function sendBody(
  reply: FastifyReply,
  source: ByteSource,
  { start, end }: { readonly start: number; readonly end: number },
  onSent: (bytes: number) => void,
): Promise<void> {
  const { raw } = reply;
  const flow = createFlow(raw, onSent, source.slow !== true && end - start <= ONE_PART_BYTES);
  const begin = (): void => {
    if (raw.headersSent) return;
    reply.hijack();
    raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>);
  };
  if (source.slow === true) {
    begin();
    raw.flushHeaders();
  }
  try {
    for (let at = start; at < end && !raw.destroyed; ) {
      const part = flow.nextPart(Math.min(end - at, source.stepAt?.(at) ?? Number.POSITIVE_INFINITY));
      await source.read(at, part);
      begin();
      flow.send(part);
      at += part.length;
      await flow.room();
    }
    begin();
    raw.end();
  } catch (error) {
    const gone = raw.destroyed;
    if (!gone && !raw.headersSent) throw error;
    begin();
    raw.destroy();
    if (!gone) throw error;
  }
}

interface Flow {
  /** Memory for the next part, of at most `left` bytes. */
  nextPart(left: number): Uint8Array;
  /** Writes what `nextPart` gave. */
  send(part: Uint8Array): void;
  /** Waits while enough is on its way. The listener's idle timeout is the deadline: it closes the connection. */
  room(): Promise<void>;
}

/** The parts of one answer that are read or on their way. What is left of them when the connection closes is written off. */
function createFlow(raw: ServerResponse, onSent: (bytes: number) => void, startsFast: boolean): Flow {
  const lent = new Map<Uint8Array, Buffer>();
  let fast = startsFast;
  let lastAt = performance.now();
  let wake = (): void => undefined;
  raw.once('close', () => {
    for (const buffer of lent.values()) writeOff(buffer);
    lent.clear();
    wake();
  });
  const sent = (part: Uint8Array, error: Error | null | undefined): void => {
    const buffer = lent.get(part);
    if (buffer === undefined) return;
    lent.delete(part);
    takeBack(buffer);
    const now = performance.now();
    fast = part.length >= (now - lastAt) * FAST_BYTES_PER_MS;
    lastAt = now;
    if (!error) onSent(part.length);
    wake();
  };
  return {
    nextPart(left) {
      const buffer = lendBuffer(left, fast);
      const part = buffer.subarray(0, Math.min(buffer.length, left));
      lent.set(part, buffer);
      return part;
    },
    send: (part) => void raw.write(part, (error) => sent(part, error)),
    async room() {
      while (lent.size >= PARTS_IN_FLIGHT && !raw.destroyed) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
