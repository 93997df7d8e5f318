/** Upstreams behind the HTTP proxy that the environment names. */
import { request as ask, createServer } from 'node:http';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { sha256DigestOf } from '#oci';
import { someBytes } from '../support/in-process.ts';
import { listenHere } from '../support/listen.ts';
import { testOrigin } from '../support/origin.ts';
import { rawUpstream, sendBlob } from '../support/raw-upstream.ts';

/** A proxy that takes every host for the one that listens on `port` of the loopback. */
async function proxyTo(t: Test, port: number): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    const path = new URL(request.url ?? '').pathname;
    const onwards = ask({ host: '127.0.0.1', port, path, method: request.method, headers: request.headers });
    onwards.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onwards.end();
  });
  server.on('connect', (request, socket, head) => {
    seen.push(`CONNECT ${request.url}`);
    const onwards = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onwards.write(head);
      onwards.pipe(socket);
      socket.pipe(onwards);
    });
    for (const [one, other] of [
      [socket, onwards],
      [onwards, socket],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  return { url: await listenHere(t, server), seen };
}

t.test('a registry is reached through the proxy, one on the loopback without', async (t) => {
  const blob = someBytes(100_001);
  const upstream = await rawUpstream(t, (asked, response) => sendBlob(asked, response, blob));
  const proxy = await proxyTo(t, Number(new URL(upstream.url).port));
  const before = process.env['http_proxy'];
  process.env['http_proxy'] = proxy.url;
  t.teardown(() => {
    if (before === undefined) delete process.env['http_proxy'];
    else process.env['http_proxy'] = before;
  });
  const rest = { staleMs: 1000, timeoutMs: 5_000, isPublic: false };
  const origin = await testOrigin(t, {
    upstreams: [
      { name: 'far.test', url: 'http://registry.invalid', ...rest },
      { name: 'near.test', url: upstream.url, ...rest },
    ],
  });
  const where = (host: string) => `/v2/${host}/a/b/blobs/${sha256DigestOf(blob)}`;
  t.ok((await origin.call('GET', where('near.test'))).body.equals(blob));
  t.same(proxy.seen, []);
  const other = await testOrigin(t, {
    upstreams: [{ name: 'far.test', url: 'http://registry.invalid', ...rest }],
  });
  t.ok((await other.call('GET', where('far.test'))).body.equals(blob));
  t.match(proxy.seen, [/registry\.invalid/]);
});
