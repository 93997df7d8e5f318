import t from 'tap';
import type { PieceRun } from '../../../daemon/fallback-policy.ts';
import { createFollowers, type Followers } from '../../../daemon/followers.ts';

function setUp(pieces: number) {
  const held = new Set<number>();
  const windows: PieceRun[] = [];
  let emptied = 0;
  const followers: Followers = createFollowers({
    has: (piece) => held.has(piece),
    pieces,
    onWindow: (window) => windows.push(window),
    onEmpty: () => {
      emptied += 1;
    },
  });
  const arrive = (piece: number): void => {
    held.add(piece);
    followers.arrived(piece);
  };
  return { followers, windows, arrive, emptied: () => emptied };
}

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending');
  const next = new Promise((resolve) => setImmediate(resolve, pending));
  return (await Promise.race([promise, next])) === pending;
}

t.test('a reader gets a piece when it was verified, and the last one when the blob was', async (t) => {
  const { followers, arrive } = setUp(3);
  const reader = followers.add(0);
  const first = reader.wait(0);
  t.ok(await isPending(first));
  arrive(0);
  await first;
  arrive(1);
  await reader.wait(1);
  const last = reader.wait(2);
  arrive(2);
  t.ok(await isPending(last), 'the last piece is held back');
  followers.complete();
  await last;
  await followers.add(2).wait(2);
});

t.test('of the first piece what is verified may be sent before all of it is here', async (t) => {
  let begun = 0;
  const [onWindow, onEmpty] = [() => undefined, () => undefined];
  const followers = createFollowers({ has: () => false, pieces: 2, begun: () => begun, onWindow, onEmpty });
  const reader = followers.add(0);
  const first = reader.wait(0, 16);
  const whole = followers.add(0).wait(0);
  begun = 15;
  followers.grown();
  t.ok(await isPending(first));
  begun = 16;
  followers.grown();
  await first;
  await reader.wait(0, 10);
  t.ok(await isPending(reader.wait(0, 17)));
  t.ok(await isPending(whole));
  t.ok(await isPending(followers.add(1).wait(1, 1)), 'of the first piece alone');
});

t.test('a blob of one piece is held back whole', async (t) => {
  const { followers, arrive } = setUp(1);
  const waiting = followers.add(0).wait(0);
  arrive(0);
  t.ok(await isPending(waiting));
  followers.fail(new Error('wrong digest'));
  await t.rejects(waiting, { message: 'wrong digest' });
});

t.test('a failure reaches who waits and who asks later', async (t) => {
  const { followers, arrive } = setUp(4);
  arrive(0);
  const waiting = followers.add(2).wait(2);
  followers.fail(new Error('gave up'));
  await t.rejects(waiting, { message: 'gave up' });
  await t.rejects(followers.add(0).wait(0), { message: 'gave up' });
});

t.test('the window moves with the readers, and is told once', async (t) => {
  const { followers, windows, arrive } = setUp(100);
  const reader = followers.add(10);
  t.same(windows, [{ first: 10, last: 21 }]);
  const waiting = reader.wait(10);
  t.equal(windows.length, 1);
  arrive(50);
  t.equal(windows.length, 1, 'a piece outside the window changes nothing');
  arrive(10);
  await waiting;
  t.same(windows.at(-1), { first: 11, last: 22 });
  t.equal(followers.positions()[0]?.waitingSince, undefined);
});

t.test('the last reader that leaves is told once', async (t) => {
  const { followers, emptied } = setUp(4);
  const one = followers.add(0);
  const other = followers.add(1);
  one.close();
  t.equal(emptied(), 0);
  other.close();
  other.close();
  t.equal(emptied(), 1);
});
