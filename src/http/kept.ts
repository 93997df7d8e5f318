/**
 * GET of a small body that somebody waits for, by the shortest way: over connections that are kept, each read into memory of
 * its own. Some tens of microseconds and 100 KiB of garbage less a request than the general client, which is what a small
 * range costs an agent beyond the origin's own time.
 *
 * Only answers of plain framing are read: HTTP/1.1 with Content-Length (RFC 9112, section 6.3), as origins give them. A host that
 * answers in another way, as a proxy may that stands before an origin, is remembered, and left to the general client.
 */
import { createBoundedMap } from '#bounded';
import { type Connection, connect, type Head, readHead, requestText, StallError } from './connection.ts';
import type { HttpBody, HttpStream } from './stream.ts';

export interface KeptConnections {
  /**
   * Gets `url`. Any status is an answer. A chunk of its body is good until the next is asked for. Rejects when the connection fails,
   * when no answer comes in time, and once for a host whose answers are not plain.
   */
  get(
    url: string,
    options: {
      readonly headers: Readonly<Record<string, string>>;
      readonly signal: AbortSignal | undefined;
      /** Dialled in place of the URL's host. */
      readonly address?: string | undefined;
    },
  ): Promise<HttpStream>;
  /** Whether the host answered with other framing before. */
  isUnsuited(url: string, address?: string): boolean;
  close(): void;
}

const BUFFER_BYTES = 128 * 1024;
/** Of one host; what comes back beyond that is closed. */
const MOST_IDLE = 32;
/** Less than servers and proxies commonly wait for the next request. */
const IDLE_MS = 4_000;
const MOST_UNSUITED = 100;

interface Idle {
  readonly connection: Connection;
  readonly timer: NodeJS.Timeout;
}

export function createKeptConnections(options: {
  readonly ca: readonly string[] | undefined;
  readonly connectTimeoutMs: number;
  readonly stallMs: number;
}): KeptConnections {
  /** By scheme, host, port and address; the one that was used last is at the end. */
  const idle = new Map<string, Idle[]>();
  const busy = new Set<Connection>();
  const unsuited = createBoundedMap<string, true>(MOST_UNSUITED);
  let closed = false;

  function take(place: string): Connection | undefined {
    const line = idle.get(place);
    for (let last = line?.pop(); last !== undefined; last = line?.pop()) {
      clearTimeout(last.timer);
      if (last.connection.isUsable()) return last.connection;
      last.connection.destroy();
    }
    idle.delete(place);
    return undefined;
  }

  function giveBack(place: string, connection: Connection): void {
    busy.delete(connection);
    const line = idle.get(place) ?? [];
    if (closed || line.length >= MOST_IDLE || !connection.isUsable()) {
      connection.destroy();
      return;
    }
    const timer = setTimeout(() => {
      line.splice(line.indexOf(kept), 1);
      if (line.length === 0) idle.delete(place);
      connection.destroy();
    }, IDLE_MS);
    const kept = { connection, timer };
    line.push(kept);
    idle.set(place, line);
    connection.rest();
  }

  async function ask(
    connection: Connection,
    place: string,
    request: string,
    signal: AbortSignal | undefined,
  ): Promise<HttpStream> {
    busy.add(connection);
    const aborted = (): void => connection.destroy(signal?.reason as Error);
    signal?.addEventListener('abort', aborted, { once: true });
    let over = false;
    const end = (whole: boolean): void => {
      if (over) return;
      over = true;
      signal?.removeEventListener('abort', aborted);
      if (whole) {
        giveBack(place, connection);
        return;
      }
      busy.delete(connection);
      connection.destroy();
    };
    try {
      connection.send(request);
      const { head, rest } = await readHead(connection);
      const { status, headers, keepsOpen } = head;
      return {
        ...{ status, headers },
        body: bodyOf(connection, { length: plainLength(head), first: rest, keepsOpen, end }),
      };
    } catch (error) {
      if (error instanceof RangeError) unsuited.set(place, true);
      end(false);
      throw error;
    }
  }

  return {
    async get(url, { headers, signal, address }) {
      signal?.throwIfAborted();
      if (closed) throw new Error('the client is closed');
      const target = new URL(url);
      const place = placeOf(target, address);
      const request = requestText(target, headers, false);
      for (let kept = take(place); kept !== undefined; kept = take(place)) {
        try {
          return await ask(kept, place, request, signal);
        } catch (error) {
          // The other side may have ended it while the request was on its way.
          if (closed || signal?.aborted || kept.hasAnswered() || error instanceof StallError) throw error;
        }
      }
      const connection = connect(target, { ...options, address, bufferBytes: BUFFER_BYTES });
      return ask(connection, place, request, signal);
    },
    isUnsuited: (url, address) => unsuited.get(placeOf(new URL(url), address)) === true,
    close() {
      closed = true;
      for (const line of idle.values()) {
        for (const { connection, timer } of line) {
          clearTimeout(timer);
          connection.destroy();
        }
      }
      idle.clear();
      for (const connection of busy) connection.destroy(new Error('the client is closed'));
      busy.clear();
    },
  };
}

function placeOf({ origin }: URL, address: string | undefined): string {
  return address === undefined ? origin : `${origin} ${address}`;
}

/** Bytes of the body. @throws RangeError when only its encoding or the end of the connection would tell */
function plainLength({ status, headers }: Head): number {
  if (status === 204 || status === 304) return 0;
  const stated = headers['content-length'];
  if (headers['transfer-encoding'] !== undefined || stated === undefined || !/^\d{1,15}$/.test(stated))
    throw new RangeError('the length of the answer is not stated');
  return Number(stated);
}

function bodyOf(
  connection: Connection,
  answer: {
    readonly length: number;
    /** What came beside the head. */
    readonly first: Buffer;
    readonly keepsOpen: boolean;
    /** Called once: whether the connection may carry another request. */
    readonly end: (whole: boolean) => void;
  },
): HttpBody {
  const { length, keepsOpen, end } = answer;
  let missing = length;
  let finishing = false;
  const { finish } = connection;

  async function* chunks(): AsyncGenerator<Buffer> {
    try {
      for (let chunk: Buffer | undefined = answer.first; ; chunk = await connection.next()) {
        if (chunk === undefined && finishing) return;
        if (chunk === undefined) throw new Error(`the connection was closed ${missing} bytes before the end`);
        if (chunk.length > missing) {
          missing = Number.POSITIVE_INFINITY;
          throw new RangeError('the body is longer than was said');
        }
        missing -= chunk.length;
        if (chunk.length > 0) yield chunk;
        if (missing === 0) return;
      }
    } finally {
      end(missing === 0 && keepsOpen && !finishing);
    }
  }
  return {
    [Symbol.asyncIterator]: chunks,
    ...(finish && {
      finish() {
        // Else it may be another request's by now.
        if (missing === 0) return;
        finishing = true;
        finish();
      },
    }),
    destroy: () => end(false),
  };
}
