/** The parts of the overlay that need no network: provider records, the book of members, frames, our own addresses. */
import t from 'tap';
import { nodeAddress, ownAddresses } from '../../../src/swarm/overlay/addresses.ts';
import { createBook } from '../../../src/swarm/overlay/book.ts';
import { readFrame, writeFrame } from '../../../src/swarm/overlay/frames.ts';
import { createRecords } from '../../../src/swarm/overlay/records.ts';
import { memoryPair } from '../../support/memory-connection.ts';

type Key = Parameters<ReturnType<typeof createRecords>['datastore']['put']>[0];

/** As much of the library's key as is used. */
const keyOf = (text: string): Key => ({ toString: () => text }) as Key;
const recordKey = (cid: string, provider: string): Key => keyOf(`/dht/provider/${cid}/${provider}`);
const peerId = (index: number): string => `12D3KooW${String(index).padStart(44, 'A').replaceAll('0', 'z')}`;
const time = Uint8Array.of(1);

async function providersOf({ datastore }: ReturnType<typeof createRecords>, cid: string): Promise<string[]> {
  const providers: string[] = [];
  for await (const { key } of datastore.query({ prefix: `/dht/provider/${cid}` })) {
    providers.push(key.toString().split('/').at(-1) ?? '');
  }
  return providers;
}

t.test('provider records: found by key, renewed, deleted', async (t) => {
  const records = createRecords();
  records.datastore.put(recordKey('a', 'one'), time);
  records.datastore.put(recordKey('a', 'two'), time);
  records.datastore.put(recordKey('b', 'one'), time);
  records.datastore.put(recordKey('a', 'one'), time);
  t.equal(records.size, 3);
  t.same((await providersOf(records, 'a')).sort(), ['one', 'two']);
  records.datastore.delete(recordKey('a', 'two'));
  t.same(await providersOf(records, 'a'), ['one']);
  t.same(await providersOf(records, 'c'), []);
  t.throws(() => records.datastore.get(recordKey('c', 'one')), { name: 'NotFoundError' });
});

t.test('a record that is not of a provider is not kept', async (t) => {
  const records = createRecords();
  records.datastore.put(keyOf('/dht/record/abc'), time);
  t.equal(records.size, 0);
});

t.test('one provider cannot push out the records of others', async (t) => {
  const records = createRecords();
  records.datastore.put(recordKey('honest', 'honest'), time);
  for (let index = 0; index < 70_000; index += 1)
    records.datastore.put(recordKey(`k${index}`, 'greedy'), time);
  t.equal(records.size, 1 + 1_024);
  t.same(await providersOf(records, 'honest'), ['honest']);
  t.same(await providersOf(records, 'k69999'), ['greedy'], 'of its own the latest stay');
});

t.test('records are bounded for each key, and as a whole', async (t) => {
  const records = createRecords();
  for (let index = 0; index < 200; index += 1) records.datastore.put(recordKey('hot', `p${index}`), time);
  const providers = await providersOf(records, 'hot');
  t.equal(providers.length, 64);
  t.ok(providers.includes('p199'));
  for (let index = 0; index < 80_000; index += 1) {
    records.datastore.put(recordKey(`k${index}`, `p${index % 100}`), time);
  }
  t.equal(records.size, 64_000);
});

t.test('the book: a member is believed about itself, others only before', async (t) => {
  const book = createBook(peerId(0));
  const at = (host: string) => [{ host, port: 4002, peerId: peerId(1) }];
  book.learn(peerId(1), at('10.0.0.9'), false);
  t.same(book.addressesOf(peerId(1)), at('10.0.0.9'));
  book.learn(peerId(1), at('10.0.0.1'), true);
  book.learn(peerId(1), at('10.0.0.8'), false);
  t.same(book.addressesOf(peerId(1)), at('10.0.0.1'));
  book.learn(peerId(0), at('10.0.0.1'), true);
  book.learn('not a peer id', at('10.0.0.1'), true);
  t.equal(book.size, 1, 'neither ourselves nor what is no peer id');
});

t.test('made-up members do not push out those that were met', async (t) => {
  const book = createBook(peerId(0));
  book.learn(peerId(1), [{ host: '10.0.0.1', port: 1, peerId: peerId(1) }], true);
  for (let index = 2; index < 6_000; index += 1) {
    book.learn(peerId(index), [{ host: '10.0.0.2', port: 1, peerId: peerId(index) }], false);
  }
  t.equal(book.size, 4_096);
  t.ok(book.met(peerId(1)));
});

t.test('who could not be reached stands behind the others', async (t) => {
  const book = createBook(peerId(0));
  for (const index of [1, 2, 3]) {
    book.learn(peerId(index), [{ host: '10.0.0.1', port: index, peerId: peerId(index) }], true);
  }
  book.failed(peerId(3));
  t.same(
    book.latest().map((member) => member.peerId),
    [peerId(2), peerId(1), peerId(3)],
  );
});

t.test('frames: one each way, cut into reads, bounded, in time', async (t) => {
  const { dialled: one, accepted: other } = memoryPair();
  const forEver = new AbortController().signal;
  const big = Buffer.alloc(50_000, 7);
  writeFrame(one, big.subarray(0, 20_000), big.subarray(20_000));
  t.ok((await readFrame(other, 50_000, forEver)).equals(big));
  writeFrame(other, big);
  await t.rejects(readFrame(one, 49_999, forEver), /more than 49999 bytes/);

  const { dialled: third, accepted: fourth } = memoryPair();
  third.write([Buffer.from([0, 0, 0, 9, 1])]);
  const cut = readFrame(fourth, 100, forEver);
  third.close('gone');
  await t.rejects(cut);
  const { accepted: silent } = memoryPair();
  await t.rejects(readFrame(silent, 100, AbortSignal.abort()), /no answer in time/);
});

t.test('addresses of members', async (t) => {
  const id = peerId(1);
  t.same(nodeAddress('/ip4/10.0.0.1/tcp/4002', id), { host: '10.0.0.1', port: 4002, peerId: id });
  t.same(nodeAddress(`/dns4/node7/tcp/4002/p2p/${id}`, id), { host: 'node7', port: 4002, peerId: id });
  for (const text of [
    '/ip4/10.0.0.1/udp/1/quic',
    '/ip4/10.0.0.1/tcp/0',
    '',
    `/ip4/1.2.3.4/tcp/1/${'x'.repeat(600)}`,
  ]) {
    t.equal(nodeAddress(text, id), undefined);
  }
  const listen = { host: '10.0.0.7', port: 4002 };
  t.same(ownAddresses({ listen, advertise: undefined, peerId: id }), [{ ...listen, peerId: id }]);
  t.same(ownAddresses({ listen, advertise: 'node7', peerId: id }), [
    { host: 'node7', port: 4002, peerId: id },
  ]);
  t.same(ownAddresses({ listen: undefined, advertise: undefined, peerId: id }), []);
  const everywhere = ownAddresses({ listen: { host: '0.0.0.0', port: 1 }, advertise: undefined, peerId: id });
  t.ok(everywhere.length > 0);
  t.notOk(everywhere.some(({ host }) => host === '0.0.0.0'));
});
