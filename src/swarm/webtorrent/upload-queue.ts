/**
 * Blocks that one member asked of us. WebTorrent reads and sends each at once, whether the member
 * takes the bytes or not; here they wait until what was sent before has left, and both the queue
 * and the bytes in memory are bounded.
 */
import type { Wire } from 'webtorrent';
import type { WireGuard } from './wire-guard.ts';
import { MAX_REQUEST_BYTES } from './wire-guard.ts';

/** Told to the member as `reqq` (BEP 10): so many requests may wait here. */
export const REQUEST_QUEUE = 1_000;
/** Members that know no `reqq` get this much before they are cut. */
const MAX_QUEUE = 4 * REQUEST_QUEUE;
/** Block bytes that are being read or wait in the socket's streams. */
const WINDOW_BYTES = 1024 * 1024;
/** More than this unsent means that answers are provoked and never read. */
const MAX_UNSENT_BYTES = 8 * 1024 * 1024;

interface Request {
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

export interface UploadSource {
  has(piece: number): boolean;
  /** Bytes of this piece. */
  pieceSize(piece: number): number;
  read(piece: number, offset: number, length: number): Promise<Uint8Array>;
}

export interface UploadQueue {
  /** Bytes passed on to the socket. */
  sent(bytes: number): void;
  /** Bytes that wait to be sent. */
  unsent(): number;
  close(): void;
}

export function serveRequests(options: {
  readonly wire: Wire;
  readonly guard: WireGuard;
  readonly source: UploadSource;
  readonly violate: (reason: string) => void;
  /** A block was handed over to be sent. */
  readonly uploaded: (bytes: number) => void;
  readonly unreadable: (error: Error) => void;
}): UploadQueue {
  const { wire, source, violate } = options;
  const queue: Request[] = [];
  let reading = 0;
  let unsent = 0;
  let closed = false;

  const push = wire._push;
  wire._push = (data) => {
    unsent += data.length;
    if (unsent > MAX_UNSENT_BYTES && !closed) violate('answers are not read');
    return closed ? false : push.call(wire, data);
  };

  const serve = async (request: Request): Promise<void> => {
    reading += request.length;
    try {
      const block = await source.read(request.index, request.offset, request.length);
      if (closed) return;
      wire.piece(request.index, request.offset, block);
      options.uploaded(block.length);
    } catch (error) {
      if (!closed) options.unreadable(error instanceof Error ? error : new Error(String(error)));
    } finally {
      reading -= request.length;
      pump();
    }
  };

  const pump = (): void => {
    while (!closed && reading + unsent < WINDOW_BYTES) {
      const next = queue.shift();
      if (!next) return;
      serve(next).catch(() => {});
    }
  };

  /** BEP 6: every request is answered, if only by a reject. */
  const refuse = (request: Request): void => {
    if (!options.guard.spendControl()) violate('flood of requests that cannot be met');
    else if (wire.hasFast) wire.reject(request.index, request.offset, request.length);
  };

  wire._onRequest = (index, offset, length) => {
    if (closed) return;
    if (length < 1 || length > MAX_REQUEST_BYTES || offset < 0 || offset + length > source.pieceSize(index)) {
      return violate(`request of ${length} bytes at ${offset} of piece ${index}`);
    }
    const request = { index, offset, length };
    if (wire.amChoking || !source.has(index)) return refuse(request);
    if (queue.length >= MAX_QUEUE) return violate('request flood');
    queue.push(request);
    pump();
  };

  wire._onCancel = (index, offset, length) => {
    const at = queue.findIndex((r) => r.index === index && r.offset === offset && r.length === length);
    if (at === -1) return;
    queue.splice(at, 1);
    if (wire.hasFast) wire.reject(index, offset, length);
  };

  return {
    sent: (bytes) => {
      unsent -= bytes;
      pump();
    },
    unsent: () => unsent,
    close: () => {
      closed = true;
      queue.length = 0;
    },
  };
}
