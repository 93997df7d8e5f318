import t from 'tap';
import { createSeeding } from '../../../src/swarm/seeding/index.ts';

t.test('a seed shows a piece once it holds it, and each to one peer', async (t) => {
  let held = 2;
  const seeding = createSeeding<string>({ pieceCount: 10, held: (piece) => piece < held, random: () => 0 });
  for (const peer of ['a', 'b', 'c']) seeding.join(peer, 0);
  t.equal(seeding.unrevealed, 2);
  t.same(
    seeding.revealAll(0).map(({ piece }) => piece),
    [0, 1],
  );
  t.same(seeding.revealAll(10), []);
  held = 5;
  for (const piece of [2, 3, 4]) seeding.gained(piece);
  const shown = seeding.revealAll(20);
  t.same(
    shown.map(({ piece }) => piece),
    [2, 3, 4],
  );
  t.equal(new Set(shown.map(({ peer }) => peer)).size, 3);
});

t.test('a hungry peer is fed from what is held', async (t) => {
  const held = 3;
  const seeding = createSeeding<string>({ pieceCount: 1_000, held: (piece) => piece < held });
  seeding.join('a', 0);
  const first = seeding.revealAll(0).map(({ piece }) => piece);
  for (const piece of first) seeding.have('a', piece, 100);
  seeding.join('b', 100);
  // Nothing is passed on to the second for long.
  const later = [5_000, 10_000, 15_000, 20_000].flatMap((at) => {
    const shown = seeding.revealAll(at);
    for (const { peer, piece } of shown) seeding.have(peer, piece, at);
    return shown;
  });
  t.ok(later.length > 0);
  t.ok([...later].every(({ peer, piece }) => peer === 'b' && piece < held));
});

t.test('a piece that a peer brought is not fresh when we get it', async (t) => {
  let held = 0;
  const seeding = createSeeding<string>({ pieceCount: 4, held: (piece) => piece < held });
  seeding.join('a', 0);
  seeding.join('b', 0);
  seeding.have('a', 0, 0);
  held = 1;
  seeding.gained(0);
  t.equal(seeding.unrevealed, 0);
  t.same(seeding.revealAll(0), []);
});
