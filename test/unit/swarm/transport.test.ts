import { once } from 'node:events';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import t, { type Test } from 'tap';
import { createIdentity, loadIdentity } from '#swarm';
import { type Connection, dialTcp, listenTcp } from '../../../src/swarm/transport/index.ts';
import {
  createLibp2pNode,
  type Libp2pNode,
  type Libp2pOptions,
} from '../../../src/swarm/transport/libp2p/index.ts';
import { LOOPBACK, until } from '../../integration/swarm-support.ts';
import { memoryPair } from '../../support/memory-connection.ts';
import { connectionContract, hear } from './connection-contract.ts';

const PATIENCE = { deadlineMs: 5_000, signal: new AbortController().signal };

connectionContract('memory', async () => memoryPair());

connectionContract('tcp', async (t) => {
  const accepted = Promise.withResolvers<Connection>();
  const listener = await listenTcp(LOOPBACK, accepted.resolve);
  const dialled = await dialTcp(listener.address, PATIENCE);
  t.teardown(async () => {
    dialled.close('over');
    await listener.close();
  });
  return { dialled, accepted: await accepted.promise };
});

interface Node {
  readonly node: Libp2pNode;
  readonly accepted: Connection[];
}

async function start(t: Test, options: Partial<Libp2pOptions> = {}): Promise<Node> {
  const accepted: Connection[] = [];
  const node = await createLibp2pNode({
    identity: await createIdentity(),
    listen: LOOPBACK,
    accept: (connection) => void accepted.push(connection),
    ...options,
  });
  t.teardown(() => node.close());
  return { node, accepted };
}

function addressOf({ node }: Node): { host: string; port: number; peerId: string } {
  if (node.address === undefined) throw new Error('does not listen');
  return { ...node.address, peerId: node.peerId };
}

/** Two nodes for each test of the contract; its connections are streams between them. */
const pairs = new WeakMap<Test, Promise<readonly [Node, Node]>>();
connectionContract('libp2p', async (t) => {
  const nodes = pairs.get(t) ?? Promise.all([start(t), start(t)]);
  pairs.set(t, nodes);
  const [from, to] = await nodes;
  const before = to.accepted.length;
  const dialled = await from.node.dial(addressOf(to), PATIENCE);
  await until(() => to.accepted.length > before, 'the stream');
  const accepted = to.accepted[before];
  if (accepted === undefined) throw new Error('no stream');
  return { dialled, accepted };
});

t.test('many streams of two members share one connection, whoever opens them', async (t) => {
  const one = await start(t);
  const two = await start(t);
  const first = await one.node.dial(addressOf(two), PATIENCE);
  const rest = await Promise.all([
    one.node.dial(addressOf(two), PATIENCE),
    two.node.dial(addressOf(one), PATIENCE),
    two.node.dial(addressOf(one), PATIENCE),
  ]);
  t.same(one.node.connections(), [{ peerId: two.node.peerId, streams: 4 }]);
  t.same(two.node.connections(), [{ peerId: one.node.peerId, streams: 4 }]);
  t.equal(first.transport, 'libp2p');
  for (const connection of [first, ...rest]) hear(connection).reasons;
  first.close('over');
  await until(() => two.node.connections()[0]?.streams === 3, 'the stream to end');
});

t.test('two members that dial each other at once end with one connection', async (t) => {
  const one = await start(t, { idleMs: 100 });
  const two = await start(t, { idleMs: 100 });
  await Promise.all([one.node.dial(addressOf(two), PATIENCE), two.node.dial(addressOf(one), PATIENCE)]);
  const before = [...one.accepted, ...two.accepted];
  t.equal(before.length, 2);
  // New streams agree on one of the two, and the other ends when its streams do.
  const next = await Promise.all([
    one.node.dial(addressOf(two), PATIENCE),
    two.node.dial(addressOf(one), PATIENCE),
  ]);
  for (const connection of before) connection.close('over');
  await until(
    () => one.node.connections().length === 1 && two.node.connections().length === 1,
    'one to stay',
  );
  t.equal(one.node.connections()[0]?.streams, 2);
  for (const connection of next) connection.close('over');
});

t.test('a connection without streams is closed, and dialled again when it is wanted', async (t) => {
  const one = await start(t, { idleMs: 50 });
  const two = await start(t);
  const stream = await one.node.dial(addressOf(two), PATIENCE);
  stream.close('over');
  await until(() => one.node.connections().length === 0, 'the idle connection to end');
  await until(() => two.node.connections().length === 0, 'the other side to know');
  const again = await one.node.dial(addressOf(two), PATIENCE);
  t.equal(again.incoming, false);
});

t.test('only admitted members take part, and only as who they are', async (t) => {
  const stranger = await start(t);
  const strict = await start(t, { admit: (peerId) => peerId !== stranger.node.peerId });
  await t.rejects(async () => {
    const connection = await stranger.node.dial(addressOf(strict), PATIENCE);
    connection.close('over');
  }, 'the listener refuses');
  t.equal(strict.accepted.length, 0);
  await t.rejects(strict.node.dial(addressOf(stranger), PATIENCE), /not admitted/, 'the dialler refuses');
  t.equal(stranger.accepted.length, 0);
  const member = await start(t);
  await t.rejects(
    member.node.dial({ ...addressOf(strict), peerId: stranger.node.peerId }, PATIENCE),
    'another key than the address says',
  );
  const welcome = await member.node.dial(addressOf(strict), PATIENCE);
  t.equal(welcome.transport, 'libp2p');
});

t.test('garbage on the port ends that connection alone', async (t) => {
  const one = await start(t);
  const two = await start(t);
  const good = await one.node.dial(addressOf(two), PATIENCE);
  const { host, port } = addressOf(two);
  const attempts = [
    Buffer.alloc(100_000, 0x41),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from('\x13/multistream/1.0.0\n\x07/noise\n\xff\xff', 'latin1'),
    Buffer.concat([
      Buffer.from('\x13/multistream/1.0.0\n\x07/noise\n', 'latin1'),
      Buffer.alloc(70_000, 0xff),
    ]),
  ];
  for (const bytes of attempts) {
    const socket = net.connect({ host, port });
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.resume();
    socket.end(bytes);
    await once(socket, 'close');
  }
  hear(good);
  await until(() => two.accepted.length === 1, 'the good stream');
  const [stream] = two.accepted;
  const heard = stream === undefined ? undefined : hear(stream);
  good.write([Buffer.from('still here')]);
  await until(() => heard?.bytes === 10, 'the good member');
  t.same(
    two.node.connections().map(({ peerId }) => peerId),
    [one.node.peerId],
  );
});

t.test('a dial gives up at its deadline, when it is told to, and where nobody listens', async (t) => {
  const one = await start(t);
  const two = await start(t);
  const silent = net.createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const bound = silent.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
  const address = { host: '127.0.0.1', port, peerId: two.node.peerId };
  await t.rejects(one.node.dial(address, { ...PATIENCE, deadlineMs: 100 }));
  const stop = new AbortController();
  const dialling = one.node.dial(address, { ...PATIENCE, signal: stop.signal });
  stop.abort();
  await t.rejects(dialling);
  await t.rejects(one.node.dial({ ...address, port: 1 }, PATIENCE));
  await t.rejects(one.node.dial({ ...address, peerId: 'nobody' }, PATIENCE));
});

t.test('an identity is made once and kept for its owner alone', async (t) => {
  const file = path.join(t.testdir(), 'keys', 'libp2p.key');
  const made = await loadIdentity(file);
  const kept = await loadIdentity(file);
  t.equal(kept.peerId, made.peerId);
  t.match(made.peerId, /^12D3KooW/);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.same(await readFile(file), Buffer.from(made.privateKey));
  t.not((await createIdentity()).peerId, made.peerId);
  await writeFile(file, 'not a key');
  await t.rejects(loadIdentity(file), /not a key of libp2p/);
  t.equal(await readFile(file, 'utf8'), 'not a key', 'what is there is not replaced');
  await chmod(path.dirname(file), 0o700);
});
