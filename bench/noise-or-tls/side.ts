/**
 * One side of the pair: `side.ts send|receive VARIANT MIB FOLDER [ADDRESS]`. Speaks JSON lines on
 * standard output; see ../noise-or-tls.ts.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';
import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import { tcp } from '@libp2p/tcp';
import { tls as libp2pTls } from '@libp2p/tls';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { createIdentity } from '#swarm';
import type { Connection } from '../../src/swarm/transport/index.ts';
import { dialTcp, listenTcp } from '../../src/swarm/transport/index.ts';
import { createLibp2pNode } from '../../src/swarm/transport/libp2p/index.ts';

const [role = '', variant = '', mebibytes = '', folder = '', address = ''] = process.argv.slice(2);
const total = Number(mebibytes) * 1024 * 1024;
const LISTEN = { host: '127.0.0.1', port: 0 } as const;
const PATIENCE = { deadlineMs: 5_000, signal: new AbortController().signal };
const PROTOCOL = '/bench/1.0.0';

/** Blocks of 16 KiB behind their headers, as the engine writes them; the library gets them whole. */
const RUN_BYTES = 64 * (13 + 16_384);
const LIBRARY_SEND_BYTES = 65_536;

let started = process.cpuUsage();
let startedAt = performance.now();
const begin = (): void => {
  started = process.cpuUsage();
  startedAt = performance.now();
};
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const cpu = (): number => {
  const used = process.cpuUsage(started);
  return (used.user + used.system) / 1e6;
};

/** What came is copied once, as an engine does. */
const sink = Buffer.alloc(1024 * 1024);
let received = 0;
function take(chunk: Uint8Array): void {
  sink.set(chunk.length > sink.length ? chunk.subarray(0, sink.length) : chunk);
  received += chunk.length;
  if (received < total) return;
  received = Number.NEGATIVE_INFINITY;
  say({ seconds: (performance.now() - startedAt) / 1000, cpu: cpu() });
  setImmediate(() => process.exit(0));
}

function serve(connection: Connection): void {
  const run = Buffer.alloc(RUN_BYTES);
  const parts: Buffer[] = [];
  for (let at = 0; at < RUN_BYTES; at += 13 + 16_384) {
    parts.push(run.subarray(at, at + 13), run.subarray(at + 13, at + 13 + 16_384));
  }
  let sent = 0;
  const next = (): void => {
    if (sent >= total) return;
    sent += RUN_BYTES;
    connection.write(parts, next);
  };
  connection.attach({ data: () => undefined, closed: () => undefined });
  next();
  next();
}

function receive(connection: Connection): void {
  connection.attach({ data: take, closed: () => undefined });
}

async function plain(): Promise<void> {
  if (role === 'send') say({ address: (await listenTcp(LISTEN, serve)).address.port });
  else receive(await dialTcp({ host: LISTEN.host, port: Number(address) }, PATIENCE));
}

async function shoal(): Promise<void> {
  const node = await createLibp2pNode({
    identity: await createIdentity(),
    listen: role === 'send' ? LISTEN : undefined,
    accept: serve,
  });
  begin();
  if (role === 'send') {
    say({ address: `${node.address?.port},${node.peerId}` });
    return;
  }
  const [port = '', peerId = ''] = address.split(',');
  receive(await node.dial({ host: LISTEN.host, port: Number(port), peerId }, PATIENCE));
}

async function library(encrypter: 'noise' | 'tls'): Promise<void> {
  const node = await createLibp2p({
    addresses: { listen: role === 'send' ? ['/ip4/127.0.0.1/tcp/0'] : [] },
    transports: [tcp()],
    connectionEncrypters: [encrypter === 'noise' ? noise() : libp2pTls()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
  });
  begin();
  if (role === 'send') {
    const bytes = Buffer.alloc(LIBRARY_SEND_BYTES);
    await node.handle(PROTOCOL, async (stream) => {
      for (let sent = 0; sent < total; sent += bytes.length) {
        if (!stream.send(bytes)) await stream.onDrain();
      }
    });
    say({ address: node.getMultiaddrs()[0]?.toString() });
    return;
  }
  const stream = await node.dialProtocol(multiaddr(address), PROTOCOL);
  stream.addEventListener('message', ({ data }) => {
    if (data instanceof Uint8Array) take(data);
    else for (const chunk of data) take(chunk);
  });
}

function nodeTls(): void {
  if (role === 'send') {
    const keys = {
      key: readFileSync(path.join(folder, 'key.pem')),
      cert: readFileSync(path.join(folder, 'cert.pem')),
    };
    const bytes = Buffer.alloc(1024 * 1024);
    const server = tls.createServer(keys, (socket) => {
      socket.on('error', () => undefined);
      let sent = 0;
      const next = (): void => {
        if (sent >= total) return;
        sent += bytes.length;
        socket.write(bytes, next);
      };
      next();
      next();
    });
    server.listen(0, LISTEN.host, () => {
      const bound = server.address();
      begin();
      say({ address: typeof bound === 'object' ? bound?.port : undefined });
    });
    return;
  }
  const buffer = Buffer.alloc(256 * 1024);
  const callback = (count: number): boolean => {
    take(buffer.subarray(0, count));
    return true;
  };
  const to: tls.ConnectionOptions & { readonly onread: object } = {
    host: LISTEN.host,
    port: Number(address),
    rejectUnauthorized: false,
    onread: { buffer, callback },
  };
  tls.connect(to);
}

begin();
process.once('SIGTERM', () => {
  say({ cpu: cpu() });
  process.exit(0);
});
if (variant === 'tcp') await plain();
else if (variant === 'shoal') await shoal();
else if (variant === 'node-tls') nodeTls();
else if (variant === 'noise' || variant === 'tls') await library(variant);
else throw new Error(`unknown variant ${variant}`);
