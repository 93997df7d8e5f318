/**
 * Large bodies, each over a connection of its own that is read in large steps. A link brings packets of
 * 1.4 KB, and a reader that is woken for each of them is busy with little else; this one lets the kernel gather
 * what comes. How much that alone gains over the general client was not measured apart from what came
 * with it. Plain HTTP/1.1 (RFC 9112): a body of known length, or one that ends with the connection.
 */
import net from 'node:net';
import tls from 'node:tls';

export interface HttpBody extends AsyncIterable<Buffer> {
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
  readonly ca: readonly string[] | undefined;
  readonly connectTimeoutMs: number;
  /** The longest wait for the headers, and for more of the body while somebody wants it. */
  readonly stallMs: number;
}

const BUFFER_BYTES = 256 * 1024;
const MAX_HEAD_BYTES = 32 * 1024;
/** From here on what comes is gathered; before, somebody may be waiting for the first bytes. */
const PROMPT_BYTES = 1024 * 1024;
/** After a step that brought less than this the kernel gets some time to gather. */
const LARGE_STEP_BYTES = 64 * 1024;
const GATHER_MS = 2;

interface Head {
  readonly status: number;
  readonly headers: Record<string, string>;
}

/** Gets `url`. Rejects when the connection fails, when no answer comes in time, and for one that is not HTTP/1. */
export async function openStream(url: string, options: StreamOptions): Promise<HttpStream> {
  options.signal?.throwIfAborted();
  const source = connect(new URL(url), options);
  try {
    source.send(requestText(new URL(url), options.headers));
    let text = '';
    for (;;) {
      const chunk = await source.next();
      if (chunk === undefined) throw new Error('the connection was closed before the answer');
      const before = text.length;
      text += chunk.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0 && text.length > MAX_HEAD_BYTES)
        throw new RangeError('the headers of the answer are too long');
      if (end < 0) continue;
      const head = parseHead(text.slice(0, end));
      return { ...head, body: bodyOf(source, head, chunk.subarray(end + 4 - before)) };
    }
  } catch (error) {
    source.destroy();
    throw error;
  }
}

function requestText(url: URL, headers: Readonly<Record<string, string>>): string {
  const lines = [`GET ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`, 'connection: close'];
  for (const [name, value] of Object.entries(headers)) {
    if (/[^\t\x20-\x7e]/.test(value)) throw new TypeError(`the header ${name} cannot be sent`);
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function parseHead(text: string): Head {
  const [first = '', ...lines] = text.split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1]);
  if (!(status >= 200)) throw new RangeError('the answer is not HTTP/1');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const at = line.indexOf(':');
    if (at <= 0) throw new RangeError('a header of the answer is not one');
    const name = line.slice(0, at).toLowerCase();
    const value = line.slice(at + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  return { status, headers };
}

function bodyOf(source: Source, { status, headers }: Head, first: Buffer): HttpBody {
  const stated = headers['content-length'];
  const length = stated === undefined ? Number.POSITIVE_INFINITY : Number(stated);
  if (stated !== undefined && !/^\d{1,15}$/.test(stated))
    throw new RangeError('Content-Length is not a number');
  // Of a refusal only the status counts; a part of a blob must come as it is.
  if (status < 300 && headers['transfer-encoding'] !== undefined) throw new RangeError('the body is encoded');

  async function* chunks(): AsyncGenerator<Buffer> {
    try {
      let missing = length;
      for (let chunk: Buffer | undefined = first; missing > 0; chunk = await source.next()) {
        if (chunk === undefined) {
          if (missing === Number.POSITIVE_INFINITY) return;
          throw new Error(`the connection was closed ${missing} bytes before the end`);
        }
        if (chunk.length > missing) throw new RangeError('the body is longer than was said');
        missing -= chunk.length;
        if (chunk.length > 0) yield chunk;
      }
    } finally {
      source.destroy();
    }
  }
  return { [Symbol.asyncIterator]: chunks, destroy: source.destroy };
}

interface Source {
  send(text: string): void;
  /** What came next; undefined at the end. What was given before is overwritten. */
  next(): Promise<Buffer | undefined>;
  destroy(): void;
}

function connect(url: URL, options: StreamOptions): Source {
  const secure = url.protocol === 'https:';
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  let waiting: PromiseWithResolvers<Buffer | undefined> | undefined;
  /** What came while nobody asked. */
  let early: Buffer | undefined;
  let lastBytes = 0;
  let ended = false;
  let failure: Error | undefined;
  let received = 0;
  let gathering: NodeJS.Timeout | undefined;

  const give = (chunk: Buffer | undefined): void => {
    waiting?.resolve(chunk);
    waiting = undefined;
  };
  const onread = {
    buffer,
    callback: (count: number): boolean => {
      received += count;
      lastBytes = count;
      const chunk = buffer.subarray(0, count);
      if (waiting) give(chunk);
      else early = chunk;
      // The buffer is the reader's until it asks again.
      return false;
    },
  };
  const target = {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port) || (secure ? 443 : 80),
    noDelay: true,
    onread,
  };
  const socket = secure
    ? tls.connect({
        ...target,
        ...(net.isIP(target.host) === 0 && { servername: target.host }),
        ...(options.ca && { ca: [...options.ca] }),
      })
    : net.connect(target);

  const fail = (error: Error): void => {
    failure ??= error;
    clearTimeout(connecting);
    clearTimeout(gathering);
    clearTimeout(stall);
    options.signal?.removeEventListener('abort', aborted);
    socket.destroy();
    waiting?.reject(failure);
    waiting = undefined;
  };
  const aborted = (): void => fail(options.signal?.reason as Error);
  const connecting = setTimeout(
    () => fail(new Error(`no connection within ${options.connectTimeoutMs} ms`)),
    options.connectTimeoutMs,
  );
  options.signal?.addEventListener('abort', aborted, { once: true });
  socket.once(secure ? 'secureConnect' : 'connect', () => clearTimeout(connecting));
  const stall = setTimeout(() => {
    // While nobody asks it is not the other side that is slow.
    if (waiting) fail(new Error(`nothing came for ${options.stallMs} ms`));
  }, options.stallMs);
  socket.on('error', fail);
  socket.on('end', () => {
    ended = true;
    give(undefined);
  });
  socket.on('close', () => {
    if (!ended) fail(new Error('the connection was closed'));
  });

  const read = (): void => {
    gathering = undefined;
    socket.resume();
  };
  return {
    send: (text) => void socket.write(text),
    next() {
      if (failure) return Promise.reject(failure);
      if (early !== undefined || ended) {
        const chunk = early;
        early = undefined;
        return Promise.resolve(chunk);
      }
      waiting = Promise.withResolvers();
      stall.refresh();
      if (received > PROMPT_BYTES && lastBytes < LARGE_STEP_BYTES) gathering = setTimeout(read, GATHER_MS);
      else read();
      return waiting.promise;
    },
    destroy: () => fail(new Error('the rest was given up')),
  };
}
