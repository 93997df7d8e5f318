/**
 * A client of a registry that costs next to nothing, so that what is measured is the server: a bare
 * socket that reads into one buffer. It hashes what arrives, as every client of a registry must.
 */
import { createHash } from 'node:crypto';
import net from 'node:net';

export interface Pulled {
  /** From before the connection until the first byte of the headers, of the body, and the end; milliseconds. */
  readonly headersMs: number;
  readonly firstByteMs: number;
  readonly totalMs: number;
}

const BUFFER_BYTES = 1 << 20;
const MAX_HEADER_BYTES = 16 * 1024;
const DEADLINE_MS = 120_000;

/** Gets a blob and checks its sha256. Rejects when it is not there, is cut, or is another one. */
export function pullBlob(url: string, digest: string): Promise<Pulled> {
  const { hostname, port, pathname } = new URL(url);
  const hash = createHash('sha256');
  const startedAt = performance.now();
  const since = (): number => performance.now() - startedAt;
  return new Promise((resolve, reject) => {
    let head = '';
    let headersMs: number | undefined;
    let firstByteMs: number | undefined;
    let missing: number | undefined;

    const fail = (reason: string): void => {
      socket.destroy();
      reject(new Error(`${url}: ${reason}`));
    };
    const body = (bytes: Buffer): void => {
      if (bytes.length === 0 || missing === undefined) return;
      firstByteMs ??= since();
      hash.update(bytes);
      missing -= bytes.length;
      if (missing > 0) return;
      const totalMs = since();
      socket.destroy();
      const got = `sha256:${hash.digest('hex')}`;
      if (missing < 0 || got !== digest) reject(new Error(`${url} brought ${got}`));
      else resolve({ headersMs: headersMs ?? totalMs, firstByteMs, totalMs });
    };
    const headers = (bytes: Buffer): void => {
      headersMs ??= since();
      const before = head.length;
      head += bytes.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) {
        if (head.length > MAX_HEADER_BYTES) fail('too many headers');
        return;
      }
      const status = head.slice(0, head.indexOf('\r\n'));
      if (!status.startsWith('HTTP/1.1 200 ')) {
        fail(status);
        return;
      }
      missing = Number(/^content-length: *(\d+)/im.exec(head)?.[1]);
      body(bytes.subarray(end + 4 - before));
    };

    const socket = net.connect({
      host: hostname,
      port: Number(port),
      onread: {
        buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES),
        callback: (length, buffer) => {
          const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, length);
          if (missing === undefined) headers(bytes);
          else body(bytes);
          return true;
        },
      },
    });
    socket.setNoDelay(true);
    socket.setTimeout(DEADLINE_MS, () => fail('nothing came for too long'));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`${url}: the connection was closed early`)));
    socket.write(`GET ${pathname} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nconnection: close\r\n\r\n`);
  });
}
