/** A registry that has one layer and sends it as far as the test allows: an upstream whose pace, failures and lies the test decides. */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { sha256DigestOf } from '#oci';

export interface SlowRegistry {
  readonly url: string;
  /** Requests for the bytes of the layer. */
  readonly asked: number;
  /** Bytes before this one may go out from now on. */
  allow(bytes: number): void;
  /** Cuts what runs, and refuses to go on with it or to begin anew until `recover`. */
  fail(): void;
  recover(): void;
}

/** Serves `layer` in whatever repository; with `sent` it sends other bytes under the layer's digest. */
export async function slowRegistry(t: Test, layer: Buffer, sent = layer): Promise<SlowRegistry> {
  const digest = sha256DigestOf(layer);
  const answers = new Set<http.ServerResponse>();
  const wakers = new Set<() => void>();
  let allowed = 0;
  let failing = false;
  let asked = 0;

  function wake(): void {
    for (const waker of wakers) waker();
    wakers.clear();
  }

  async function send(response: http.ServerResponse, start: number): Promise<void> {
    answers.add(response);
    response.once('close', () => {
      answers.delete(response);
      wake();
    });
    for (let at = start; at < sent.length && !response.destroyed; ) {
      const end = Math.min(allowed, at + 64 * 1024, sent.length);
      if (end > at) {
        await new Promise<unknown>((resolve) => response.write(sent.subarray(at, end), resolve));
        at = end;
      } else {
        await new Promise<void>((resolve) => void wakers.add(resolve));
      }
    }
    response.end();
  }

  const server = http.createServer((request, response) => {
    if (!request.url?.endsWith(`/blobs/${digest}`)) {
      response.writeHead(request.url === '/v2/' ? 200 : 404).end();
      return;
    }
    if (failing) {
      // Not to be resumed, so that the fetch ends at once; and not unknown, which would be remembered.
      response.writeHead(request.headers.range === undefined ? 500 : 404).end();
      return;
    }
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const range = { 'content-range': `bytes ${start}-${sent.length - 1}/${sent.length}` };
    response.writeHead(start > 0 ? 206 : 200, {
      'content-length': sent.length - start,
      ...(start > 0 && range),
    });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    asked += 1;
    response.flushHeaders();
    send(response, start).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    server.closeAllConnections();
    wake();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get asked() {
      return asked;
    },
    allow(bytes) {
      allowed = bytes;
      wake();
    },
    fail() {
      failing = true;
      for (const response of answers) response.destroy();
    },
    recover() {
      failing = false;
    },
  };
}
