/**
 * One keep-alive HTTP/1.1 connection that costs its process as little as it can, so that a load generator
 * beside the server on the same cores measures the server: one request at a time, the head found by search,
 * the body counted and dropped.
 */
import net from 'node:net';

export interface Answer {
  readonly status: number;
  /** The value of a header as it was sent. */
  header(name: string): string | undefined;
  readonly bodyBytes: number;
}

export interface Connection {
  /** Sends a request and waits for its whole answer. Rejects when the connection ends before that. */
  request(method: string, target: string, options?: RequestOptions): Promise<Answer>;
  close(): void;
}

interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

interface Waiting {
  readonly method: string;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

export async function connect(port: number): Promise<Connection> {
  const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  let waiting: Waiting | undefined;
  let head = '';
  let body: { answer: Answer; left: number } | undefined;

  const done = (answer: Answer): void => {
    const { resolve } = waiting ?? {};
    waiting = undefined;
    body = undefined;
    resolve?.(answer);
  };
  const fail = (error: Error): void => {
    waiting?.reject(error);
    waiting = undefined;
  };
  const takeBody = (length: number): void => {
    if (!body) return;
    body.left -= length;
    if (body.left < 0) fail(new Error('more came than Content-Length said'));
    else if (body.left === 0) done(body.answer);
  };

  socket.on('data', (chunk: Buffer) => {
    if (body) {
      takeBody(chunk.length);
      return;
    }
    head += chunk.toString('latin1');
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    const text = head.slice(0, end);
    const rest = head.length - end - 4;
    head = '';
    const header = (name: string): string | undefined =>
      new RegExp(`^${name}: *(.*)$`, 'im').exec(text)?.[1]?.trim();
    const status = Number(text.slice(9, 12));
    const none = waiting?.method === 'HEAD' || status === 204 || status === 304;
    const length = none ? 0 : Number(header('content-length'));
    if (Number.isNaN(length)) {
      fail(new Error(`an answer without Content-Length: ${text}`));
      return;
    }
    body = { answer: { status, header, bodyBytes: length }, left: length };
    takeBody(rest);
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the connection was closed')));

  return {
    request: (method, target, { headers = {}, body: content } = {}) =>
      new Promise<Answer>((resolve, reject) => {
        if (socket.destroyed) {
          reject(new Error('the connection was closed'));
          return;
        }
        waiting = { method, resolve, reject };
        let text = `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`;
        for (const [name, value] of Object.entries(headers)) text += `${name}: ${value}\r\n`;
        if (content) text += `Content-Length: ${content.length}\r\n`;
        else if (method === 'POST') text += 'Content-Length: 0\r\n';
        socket.cork();
        socket.write(`${text}\r\n`, 'latin1');
        if (content) socket.write(content);
        socket.uncork();
      }),
    close: () => socket.destroy(),
  };
}
