/**
 * One HTTP/1.1 connection (RFC 9112) as a client that wants large steps reads it: into one buffer of its own, which the
 * kernel fills while the reader is at work and which is read again only when the reader asks for more. No memory is
 * made for what comes, and nothing stands between the socket and the reader.
 */
import net from 'node:net';
import tls from 'node:tls';

export interface ConnectionOptions {
  /** Dialled in place of the URL's host. */
  readonly address?: string | undefined;
  readonly ca: readonly string[] | undefined;
  readonly connectTimeoutMs: number;
  /** The longest wait for more while somebody wants it. */
  readonly stallMs: number;
  readonly bufferBytes: number;
}

export interface Connection {
  send(text: string): void;
  /** What came next; undefined at the end. What was given before is overwritten. `gatherMs`: the kernel gets so long to gather more. */
  next(gatherMs?: number): Promise<Buffer | undefined>;
  /**
   * Asks the other side to end: what is on its way can still be read, and then it ends, in whatever way. Not over TLS, where
   * Node was seen to lose what comes after our side has ended.
   */
  readonly finish: (() => void) | undefined;
  /** Whoever waits is told `reason`. */
  destroy(reason?: Error): void;
  /** Nobody asks anything now: notices when the other side ends it. */
  rest(): void;
  /** Whether anything came since `send`. */
  hasAnswered(): boolean;
  /** Whether another request may be sent: it is open, and nothing came that nobody asked for. */
  isUsable(): boolean;
}

export interface Head {
  readonly status: number;
  /** Lower-case names; a repeated header is joined with a comma. */
  readonly headers: Record<string, string>;
  /** Whether the other side waits for another request after this answer. */
  readonly keepsOpen: boolean;
}

/** Nothing came while somebody waited. */
export class StallError extends Error {}

const MAX_HEAD_BYTES = 32 * 1024;

/** Reads an answer's head; answers with what came of the body beside it. Rejects for what is not HTTP/1, and when the connection ends before. */
export async function readHead(
  connection: Connection,
): Promise<{ readonly head: Head; readonly rest: Buffer }> {
  let text = '';
  for (;;) {
    const chunk = await connection.next();
    if (chunk === undefined) throw new Error('the connection was closed before the answer');
    const before = text.length;
    text += chunk.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    if (end < 0 && text.length > MAX_HEAD_BYTES)
      throw new RangeError('the headers of the answer are too long');
    if (end >= 0) return { head: parseHead(text.slice(0, end)), rest: chunk.subarray(end + 4 - before) };
  }
}

/** A GET; `close`: the only one of its connection. @throws TypeError for a header that cannot be sent */
export function requestText(url: URL, headers: Readonly<Record<string, string>>, close: boolean): string {
  const lines = [`GET ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`];
  if (close) lines.push('connection: close');
  for (const [name, value] of Object.entries(headers)) {
    if (/[^\t\x20-\x7e]/.test(value)) throw new TypeError(`the header ${name} cannot be sent`);
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function parseHead(text: string): Head {
  const [first = '', ...lines] = text.split('\r\n');
  const [, version, code] = /^HTTP\/(1\.[01]) (\d{3})(?: |$)/.exec(first) ?? [];
  const status = Number(code);
  if (!(status >= 200)) throw new RangeError('the answer is not HTTP/1');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const at = line.indexOf(':');
    if (at <= 0) throw new RangeError('a header of the answer is not one');
    const name = line.slice(0, at).toLowerCase();
    const value = line.slice(at + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  const keepsOpen = version === '1.1' && !/(?:^|,)\s*close\s*(?:,|$)/i.test(headers['connection'] ?? '');
  return { status, headers, keepsOpen };
}

/** Dials `url`'s host, or the address. What fails is told to whoever waits for more. */
export function connect(url: URL, options: ConnectionOptions): Connection {
  const secure = url.protocol === 'https:';
  const buffer = Buffer.allocUnsafeSlow(options.bufferBytes);
  let waiting: PromiseWithResolvers<Buffer | undefined> | undefined;
  /** What came while nobody asked. */
  let early: Buffer | undefined;
  let ended = false;
  let finishing = false;
  let failure: Error | undefined;
  let gathering: NodeJS.Timeout | undefined;
  let answered = false;

  const give = (chunk: Buffer | undefined): void => {
    waiting?.resolve(chunk);
    waiting = undefined;
  };
  const onread = {
    buffer,
    callback: (count: number): boolean => {
      const chunk = buffer.subarray(0, count);
      answered = true;
      if (waiting) give(chunk);
      else early = chunk;
      // The buffer is the reader's until it asks again.
      return false;
    },
  };
  const name = url.hostname.replace(/^\[|\]$/g, '');
  const target = {
    host: options.address ?? name,
    port: Number(url.port) || (secure ? 443 : 80),
    noDelay: true,
    onread,
  };
  const socket = secure
    ? tls.connect({
        ...target,
        ...(net.isIP(name) === 0 && { servername: name }),
        ...(options.ca && { ca: [...options.ca] }),
      })
    : net.connect(target);

  const fail = (error: Error): void => {
    failure ??= error;
    clearTimeout(connecting);
    clearTimeout(gathering);
    clearTimeout(stall);
    socket.destroy();
    waiting?.reject(failure);
    waiting = undefined;
  };
  const connecting = setTimeout(
    () => fail(new Error(`no connection within ${options.connectTimeoutMs} ms`)),
    options.connectTimeoutMs,
  );
  socket.once(secure ? 'secureConnect' : 'connect', () => clearTimeout(connecting));
  const stall = setTimeout(() => {
    // While nobody asks it is not the other side that is slow.
    if (waiting) fail(new StallError(`nothing came for ${options.stallMs} ms`));
  }, options.stallMs);
  const finished = (): void => {
    ended = true;
    give(undefined);
  };
  socket.on('error', (error) => (finishing ? finished() : fail(error)));
  socket.on('end', finished);
  socket.on('close', () => {
    if (finishing) finished();
    else if (!ended) fail(new Error('the connection was closed'));
  });

  const finish = (): void => {
    finishing = true;
    socket.end();
  };
  const read = (): void => {
    gathering = undefined;
    socket.resume();
  };
  return {
    send(text) {
      answered = false;
      socket.write(text);
    },
    hasAnswered: () => answered,
    next(gatherMs = 0) {
      if (failure) return Promise.reject(failure);
      if (early !== undefined || ended) {
        const chunk = early;
        early = undefined;
        return Promise.resolve(chunk);
      }
      waiting = Promise.withResolvers();
      stall.refresh();
      if (gatherMs > 0) gathering = setTimeout(read, gatherMs);
      else read();
      return waiting.promise;
    },
    finish: secure ? undefined : finish,
    destroy: (reason = new Error('the rest was given up')) => fail(reason),
    rest: read,
    isUsable: () => failure === undefined && !ended && early === undefined,
  };
}
