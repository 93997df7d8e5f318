/** The bodies of answers: read and sent part by part, counted by what really passed, and honest about a cut. */
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { ownParts, type Part, type Parts, sharedParts } from './shared-parts.ts';

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
  /** Names the bytes, as a digest does: answers that send the same at the same time share what they read. */
  readonly name?: string | undefined;
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
  const short = end - start <= ONE_PART_BYTES;
  const read = (position: number, into: Uint8Array): Promise<void> => source.read(position, into);
  const parts = source.name === undefined || short ? ownParts(read) : sharedParts(source.name, read);
  const flow = createFlow(raw, parts, onSent, source.slow !== true && short);
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
    for (let at = start; at < end && !flow.over(); ) {
      const most = Math.min(end - at, source.stepAt?.(at) ?? Number.POSITIVE_INFINITY);
      const part = await flow.nextPart(at, most);
      begin();
      flow.send(part);
      at += part.bytes.length;
      await flow.room();
    }
    begin();
    if (!flow.over()) raw.end();
  } catch (error) {
    const gone = raw.destroyed;
    if (!gone && !raw.headersSent) throw error;
    begin();
    raw.destroy();
    if (!gone) throw error;
  } finally {
    parts.close();
  }
}

interface Flow {
  /** The next part, of at most `left` bytes. @throws the source's error */
  nextPart(at: number, left: number): Promise<Part>;
  /** Writes what `nextPart` gave. */
  send(part: Part): void;
  /** Nothing more is to be sent: the client has gone, or has ended its side and takes what is on its way. */
  over(): boolean;
  /** Waits while enough is on its way. The listener's idle timeout is the deadline: it closes the connection. */
  room(): Promise<void>;
}

/** The parts of one answer that are on their way. What is left of them when the connection closes may still be read. */
function createFlow(
  raw: ServerResponse,
  parts: Parts,
  onSent: (bytes: number) => void,
  startsFast: boolean,
): Flow {
  const lent = new Set<Part>();
  let fast = startsFast;
  let lastAt = performance.now();
  let wake = (): void => undefined;
  raw.once('close', () => {
    for (const part of lent) part.giveBack(false);
    lent.clear();
    wake();
  });
  const sent = (part: Part, error: Error | null | undefined): void => {
    if (!lent.delete(part)) return;
    part.giveBack(true);
    const now = performance.now();
    fast = part.bytes.length >= (now - lastAt) * FAST_BYTES_PER_MS;
    lastAt = now;
    if (!error) onSent(part.bytes.length);
    wake();
  };
  const over = (): boolean => raw.destroyed || raw.socket?.readableEnded === true;
  return {
    over,
    nextPart: (at, left) => parts.take(at, left, fast),
    send(part) {
      if (over()) {
        part.giveBack(true);
        return;
      }
      lent.add(part);
      raw.write(part.bytes, (error) => sent(part, error));
    },
    async room() {
      while (lent.size >= PARTS_IN_FLIGHT && !over()) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
