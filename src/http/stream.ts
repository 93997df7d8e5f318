/**
 * Large bodies, each over a connection of its own that is read in large steps. A link brings packets of
 * 1.4 KB, and a reader that is woken for each of them is busy with little else; this one lets the kernel gather
 * what comes. How much that alone gains over the general client was not measured apart from what came
 * with it. Plain HTTP/1.1 (RFC 9112): a body of known length, or one that ends with the connection.
 */
import { type Connection, connect, type Head, readHead, requestText } from './connection.ts';

export interface HttpBody extends AsyncIterable<Buffer> {
  /**
   * Asks the server to send no more. What is on its way still comes, and then the iteration ends without an error: so what
   * the server has sent and what was received stay the same number. Absent over TLS and in the general client.
   */
  finish?(): void;
  /** Gives up the rest. */
  destroy(): void;
}

/** An answer whose body is read as it comes. A chunk is good until the next is asked for. */
export interface HttpStream {
  readonly status: number;
  /** Lower-case names; a repeated header is joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: HttpBody;
}

export interface StreamOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal | undefined;
  /** Dialled in place of the URL's host. */
  readonly address?: string | undefined;
  readonly ca: readonly string[] | undefined;
  readonly connectTimeoutMs: number;
  /** The longest wait for the headers, and for more of the body while somebody wants it. */
  readonly stallMs: number;
}

const BUFFER_BYTES = 256 * 1024;
/** From here on what comes is gathered; before, somebody may be waiting for the first bytes. */
const PROMPT_BYTES = 1024 * 1024;
/** After a step that brought less than this the kernel gets some time to gather. */
const LARGE_STEP_BYTES = 64 * 1024;
const GATHER_MS = 2;

/** Gets `url`. Rejects when the connection fails, when no answer comes in time, and for one that is not HTTP/1. */
export async function openStream(url: string, options: StreamOptions): Promise<HttpStream> {
  const { signal } = options;
  signal?.throwIfAborted();
  const target = new URL(url);
  const request = requestText(target, options.headers, true);
  const connection = connect(target, { ...options, bufferBytes: BUFFER_BYTES });
  const aborted = (): void => connection.destroy(signal?.reason as Error);
  signal?.addEventListener('abort', aborted, { once: true });
  const end = (): void => {
    signal?.removeEventListener('abort', aborted);
    connection.destroy();
  };
  try {
    connection.send(request);
    const { head, rest } = await readHead(connection);
    const { status, headers } = head;
    return { status, headers, body: bodyOf(connection, head, rest, end) };
  } catch (error) {
    end();
    throw error;
  }
}

function bodyOf(connection: Connection, { status, headers }: Head, first: Buffer, end: () => void): HttpBody {
  const stated = headers['content-length'];
  const length = stated === undefined ? Number.POSITIVE_INFINITY : Number(stated);
  if (stated !== undefined && !/^\d{1,15}$/.test(stated))
    throw new RangeError('Content-Length is not a number');
  // Of a refusal only the status counts; a part of a blob must come as it is.
  if (status < 300 && headers['transfer-encoding'] !== undefined) throw new RangeError('the body is encoded');

  let received = 0;
  let finishing = false;
  const { finish } = connection;
  const next = (last: number): Promise<Buffer | undefined> =>
    connection.next(received > PROMPT_BYTES && last < LARGE_STEP_BYTES ? GATHER_MS : 0);

  async function* chunks(): AsyncGenerator<Buffer> {
    try {
      let missing = length;
      for (let chunk: Buffer | undefined = first; missing > 0; chunk = await next(chunk.length)) {
        if (chunk === undefined) {
          if (finishing || missing === Number.POSITIVE_INFINITY) return;
          throw new Error(`the connection was closed ${missing} bytes before the end`);
        }
        if (chunk.length > missing) throw new RangeError('the body is longer than was said');
        missing -= chunk.length;
        received += chunk.length;
        if (chunk.length > 0) yield chunk;
      }
    } finally {
      end();
    }
  }
  return {
    [Symbol.asyncIterator]: chunks,
    ...(finish && {
      finish() {
        finishing = true;
        finish();
      },
    }),
    destroy: end,
  };
}
