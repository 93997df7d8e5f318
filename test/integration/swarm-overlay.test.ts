/** What members ask each other, and the DHT: among members, and closed to strangers of a cluster. */
import t, { type Test } from 'tap';
import { createCluster } from '#cluster';
import { createIdentity, createSwarm, type Overlay, type PeerAddress, type Swarm } from '#swarm';
import { createLibp2pNode } from '../../src/swarm/transport/libp2p/index.ts';
import { makeCluster, type TestCluster, testMembership } from '../support/cluster.ts';
import { countingObserver, LOOPBACK, quiet, until } from './swarm-support.ts';

const PROTOCOLS = ['/shoal/metainfo/1.0.0', '/shoal/kad/1.0.0'];
const forEver = new AbortController().signal;
const soon = (): AbortSignal => AbortSignal.timeout(5_000);

interface Member {
  readonly swarm: Swarm;
  readonly overlay: Overlay;
  readonly address: PeerAddress & { readonly libp2p: NonNullable<PeerAddress['libp2p']> };
  readonly questions: string[];
}

/** `cluster`: with a membership of it. */
async function member(t: Test, cluster?: TestCluster): Promise<Member> {
  const identity = await createIdentity();
  const questions: string[] = [];
  const membership =
    cluster &&
    testMembership(createCluster(cluster.key.id, Date.now).member, await cluster.membership(identity.peerId));
  const swarm = await createSwarm({
    ...{ listen: undefined, identity, membership, peerListen: LOOPBACK, log: quiet },
    lookup: async () => undefined,
    observer: countingObserver().observer,
    overlay: {
      dht: true,
      mdns: undefined,
      async answer(question) {
        questions.push(question);
        return question === 'known' ? Buffer.from('answer') : undefined;
      },
    },
  });
  t.teardown(() => swarm.close());
  const { overlay, libp2p } = swarm;
  if (!overlay || !libp2p) throw new Error('no overlay');
  const { host, port, peerId } = libp2p;
  return { swarm, overlay, address: { host, port, libp2p: { port, peerId } }, questions };
}

async function providersOf({ overlay }: Member, key: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { libp2p } of overlay.providers(key, soon())) found.push(libp2p?.peerId ?? '');
  return found;
}

async function exchangeAmong(t: Test, cluster?: TestCluster): Promise<void> {
  const [first, second, third] = [
    await member(t, cluster),
    await member(t, cluster),
    await member(t, cluster),
  ];
  second.overlay.introduce([first.address]);
  await third.overlay.introduceHost(first.address.host, first.address.libp2p.port);
  const all = [first, second, third];
  await until(() => all.every(({ overlay }) => overlay.status().table === 2), 'a table of all');

  const ask = (question: string) =>
    third.overlay.ask(second.address, question, { maxBytes: 6, signal: forEver });
  t.equal(String(await ask('known')), 'answer');
  t.equal(await ask('unknown'), undefined);
  t.same(second.questions, ['known', 'unknown']);
  const few = { maxBytes: 5, signal: forEver };
  await t.rejects(third.overlay.ask(second.address, 'known', few), /more than/);

  t.equal(await first.overlay.provide('key', soon()), 2);
  t.same(await providersOf(third, 'key'), [first.address.libp2p.peerId]);
  t.same(await providersOf(third, 'another key'), []);
  t.equal(await ask(`who ${'0'.repeat(64)}`), undefined, 'nobody is on record');
  t.equal(await ask('who knows'), undefined);
  t.same(second.questions, ['known', 'unknown', 'known'], 'what is asked of the overlay is answered by it');
  third.overlay.ban(first.address.libp2p.peerId);
  const banned = third.overlay.ask(first.address, 'known', { maxBytes: 6, signal: forEver });
  await t.rejects(banned, /not admitted/);
}

t.test('members find and ask each other', (t) => exchangeAmong(t));

t.test('members of a cluster find and ask each other', async (t) => exchangeAmong(t, await makeCluster(t)));

t.test('a stranger is neither answered nor in the DHT of a cluster', async (t) => {
  const one = await member(t, await makeCluster(t));
  const { host, port, peerId } = { ...one.address, ...one.address.libp2p };

  const other = await member(t, await makeCluster(t));
  other.overlay.introduce([one.address]);
  await t.rejects(other.overlay.ask(one.address, 'known', { maxBytes: 6, signal: soon() }));

  // One that shows nothing, and asks at once.
  const node = await createLibp2pNode({
    identity: await createIdentity(),
    listen: undefined,
    accept: (connection) => connection.close('nothing here'),
  });
  t.teardown(() => node.close());
  for (const protocol of PROTOCOLS) {
    const patience = { deadlineMs: 10_000, signal: forEver };
    const closed = node.open(peerId, [{ host, port, peerId }], protocol, patience).then(
      async (stream) => {
        stream.send(Buffer.from('\0\0\0\x05known'));
        for await (const bytes of stream) t.fail(`${protocol} answered ${bytes.byteLength} bytes`);
      },
      () => undefined,
    );
    await closed;
  }
  t.same(one.questions, []);
  t.equal(one.overlay.status().table, 0);
  t.equal(one.overlay.status().met, 0);
});
