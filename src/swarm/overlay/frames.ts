/** One frame each way on a stream: four bytes of length (big-endian), then so many bytes. */
import type { Connection } from '../transport/index.ts';

const LENGTH_BYTES = 4;

/** Rejects when the frame is longer than `maxBytes`, the stream ends before it does, or `signal` aborts; the stream is closed then. */
export function readFrame(connection: Connection, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let received = 0;
    let length: number | undefined;
    let done = false;

    const end = (): void => {
      done = true;
      signal.removeEventListener('abort', onAbort);
    };
    function fail(reason: string): void {
      if (done) return;
      end();
      connection.close(reason);
      reject(new Error(reason));
    }
    const onAbort = (): void => fail('no answer in time');
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort);
    connection.attach({
      closed: fail,
      data(chunk) {
        if (done) return;
        chunks.push(Buffer.from(chunk));
        received += chunk.length;
        if (length === undefined && received >= LENGTH_BYTES) {
          length = Buffer.concat(chunks).readUInt32BE(0);
          if (length > maxBytes) fail(`more than ${maxBytes} bytes`);
        }
        if (done || length === undefined || received < LENGTH_BYTES + length) return;
        end();
        const all = Buffer.concat(chunks);
        resolve(all.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
      },
    });
  });
}

export function writeFrame(connection: Connection, ...parts: readonly Uint8Array[]): void {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(parts.reduce((sum, part) => sum + part.length, 0));
  connection.write([length, ...parts]);
}
