/** Our Noise frames and our yamux against the library's, in both directions. */
import { createHash, randomBytes } from 'node:crypto';
import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import t, { type Test } from 'tap';
import { createIdentity } from '#swarm';
import type { Connection } from '../../src/swarm/transport/index.ts';
import { createLibp2pNode, type Libp2pNode, PROTOCOL } from '../../src/swarm/transport/libp2p/index.ts';
import { LOOPBACK, until } from '../integration/swarm-support.ts';

const SIZE = 6_000_000;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function stock(t: Test): Promise<Awaited<ReturnType<typeof createLibp2p>>> {
  const node = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
  });
  t.teardown(() => node.stop());
  return node;
}

async function ours(t: Test, accept: (connection: Connection) => void): Promise<Libp2pNode> {
  const node = await createLibp2pNode({ identity: await createIdentity(), listen: LOOPBACK, accept });
  t.teardown(() => node.close());
  return node;
}

/** Sends `bytes` and returns what came, once it is as much. */
async function exchange(connection: Connection, bytes: Buffer): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  connection.attach({
    data(chunk) {
      chunks.push(Buffer.from(chunk));
      length += chunk.length;
    },
    closed: () => undefined,
  });
  for (let at = 0; at < bytes.length; at += 100_000) connection.write([bytes.subarray(at, at + 100_000)]);
  await until(() => length >= bytes.length, 'all bytes from the library');
  return Buffer.concat(chunks);
}

type Stream = Awaited<ReturnType<Awaited<ReturnType<typeof stock>>['dialProtocol']>>;

async function exchangeStock(stream: Stream, bytes: Buffer): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  stream.addEventListener('message', ({ data }) => {
    chunks.push(data.subarray());
    length += data.byteLength;
  });
  for (let at = 0; at < bytes.length; at += 100_000) {
    if (!stream.send(bytes.subarray(at, at + 100_000))) await stream.onDrain();
  }
  await until(() => length >= bytes.length, 'all bytes from us');
  return Buffer.concat(chunks);
}

t.test('the library dials us', async (t) => {
  const here = randomBytes(SIZE);
  const there = randomBytes(SIZE);
  const accepted = Promise.withResolvers<Connection>();
  const node = await ours(t, accepted.resolve);
  const library = await stock(t);
  const address = multiaddr(`/ip4/127.0.0.1/tcp/${node.address?.port}/p2p/${node.peerId}`);
  const stream = await library.dialProtocol(address, PROTOCOL);
  const [atUs, atThem] = await Promise.all([
    accepted.promise.then((connection) => exchange(connection, here)),
    exchangeStock(stream, there),
  ]);
  t.equal(sha256(atUs), sha256(there));
  t.equal(sha256(atThem), sha256(here));
  await library.stop();
  await until(() => node.connections().length === 0, 'the connection to end');
});

t.test('we dial the library, with many streams', async (t) => {
  const library = await stock(t);
  const sent = Array.from({ length: 5 }, () => randomBytes(SIZE / 5));
  await library.handle(PROTOCOL, (stream) => {
    // It sends back what it gets.
    stream.addEventListener('message', ({ data }) => void stream.send(data));
  });
  const node = await ours(t, () => undefined);
  const [address] = library.getMultiaddrs();
  const port = Number(address?.getComponents().find(({ name }) => name === 'tcp')?.value);
  const to = { host: '127.0.0.1', port, peerId: library.peerId.toString() };
  const patience = { deadlineMs: 5_000, signal: new AbortController().signal };
  const first = await node.dial(to, patience);
  const rest = await Promise.all(sent.slice(1).map(() => node.dial(to, patience)));
  const got = await Promise.all(
    [first, ...rest].map((connection, at) => exchange(connection, sent[at] ?? Buffer.alloc(0))),
  );
  t.same(got.map(sha256), sent.map(sha256));
  t.equal(node.connections().length, 1);
  for (const connection of [first, ...rest]) connection.close('over');
  await until(() => node.connections()[0]?.streams === 0, 'the streams to end');
});
