import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createBans } from '../../../src/swarm/blob/bans.ts';
import { createPieceMemory, createPieces, type Sender } from '../../../src/swarm/blob/pieces.ts';
import { createSuspects } from '../../../src/swarm/blob/suspects.ts';

const BLOCK = 16_384;
const sender = (name: string, host = '10.0.0.1'): Sender => ({
  peerId: name,
  label: `${host}:${name}`,
  host,
});
const writer = (): { dropped: number; dropBlock: () => void } => {
  const one = { dropped: 0, dropBlock: () => void one.dropped++ };
  return one;
};

function pieces(memoryBytes = 1 << 20) {
  return createPieces({
    pieceLength: 4 * BLOCK,
    pieceSize: (piece) => (piece === 9 ? 100 : 4 * BLOCK),
    memory: createPieceMemory(memoryBytes),
  });
}

t.test('a block has one writer at a time, and none once it is whole', async (t) => {
  const open = pieces().ensure(0);
  if (open === undefined) throw new Error('no memory');
  const [slow, fast] = [writer(), writer()];
  t.equal(open.begin(BLOCK, slow), true);
  t.equal(open.begin(BLOCK, fast), true);
  t.equal(slow.dropped, 1);
  t.equal(open.finish(BLOCK, sender('a')), true);
  t.equal(open.finish(BLOCK, sender('b')), false);
  t.equal(open.begin(BLOCK, slow), false);
  t.equal(open.missing, 3);
});

t.test('memory is bounded, but every blob gets its first pieces', async (t) => {
  const memory = createPieceMemory(3 * 4 * BLOCK);
  const make = () => createPieces({ pieceLength: 4 * BLOCK, pieceSize: () => 4 * BLOCK, memory });
  const [one, two] = [make(), make()];
  for (const piece of [0, 1, 2]) t.ok(one.ensure(piece));
  t.equal(one.ensure(3), undefined);
  t.ok(two.ensure(0));
  t.ok(two.ensure(1));
  t.equal(two.ensure(2), undefined);
  one.clear();
  t.ok(two.ensure(2));
  const late = writer();
  two.get(2)?.begin(0, late);
  two.close(2);
  t.equal(late.dropped, 1, 'nobody writes into a buffer that is used again');
});

t.test('the last piece is shorter', async (t) => {
  t.equal(pieces().ensure(9)?.bytes.length, 100);
});

t.test('one sender of a bad piece is its liar; of several the one whose block differs', async (t) => {
  const suspects = createSuspects();
  const good = randomBytes(4 * BLOCK);
  const fill = (names: readonly string[], spoilt: number) => {
    const open = pieces().ensure(0);
    if (open === undefined) throw new Error('no memory');
    open.bytes.set(good);
    for (const [block, name] of names.entries()) open.finish(block * BLOCK, sender(name));
    if (spoilt >= 0) open.bytes[spoilt * BLOCK + 5] = (open.bytes[spoilt * BLOCK + 5] ?? 0) ^ 1;
    return open;
  };
  t.equal(suspects.failed(fill(['x', 'x', 'x', 'x'], 1))?.peerId, 'x');
  t.strictSame(suspects.verified(0, good), []);
  t.equal(suspects.failed(fill(['a', 'b', 'a', 'c'], 1)), undefined);
  t.ok(suspects.has(0));
  t.equal(suspects.failed(fill(['a', 'a', 'c', 'd'], 3)), undefined);
  t.strictSame(
    suspects
      .verified(0, good)
      .map(({ peerId }) => peerId)
      .toSorted(),
    ['b', 'd'],
  );
  t.notOk(suspects.has(0));
});

t.test('bans grow, hold for address and for peer id, and for a host under many names', async (t) => {
  const bans = createBans();
  const one = sender('one');
  bans.add(one, 0);
  t.ok(bans.has(one, 59_000));
  t.ok(bans.has({ peerId: 'one', host: '10.0.0.1', label: '10.0.0.1:5555' }, 59_000));
  t.notOk(bans.has({ peerId: 'two', host: '10.0.0.1', label: '10.0.0.1:two' }, 1));
  t.notOk(bans.has(one, 61_000));
  bans.add(one, 61_000);
  t.ok(bans.has(one, 61_000 + 230_000), 'four times as long');
  for (let name = 0; name < 5; name++) bans.add(sender(`n${name}`, '10.0.0.2'), 0);
  t.ok(bans.has({ peerId: 'new', host: '10.0.0.2', label: '10.0.0.2:1' }, 1));
  for (let name = 0; name < 9; name++) bans.add(sender(`n${name}`, '127.0.0.1'), 0);
  t.notOk(
    bans.has({ peerId: 'new', host: '127.0.0.1', label: '127.0.0.1:1' }, 1),
    'the loopback is everybody',
  );
});
