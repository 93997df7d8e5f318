import fc from 'fast-check';
import t from 'tap';
import { type Block, createPicker, type Picker } from '../../../src/swarm/picker/index.ts';

const BLOCK = 16_384;
const BLOCKS = 4;

/** A generator of numbers in [0, 1) that depends on the seed alone (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What the picker should know, kept in the plainest way, and the checks of each answer. */
function createModel(options: {
  pieceCount: number;
  held: ReadonlySet<number>;
  seed: number;
  name?: string;
  maxOpenPieces?: number;
}) {
  const { pieceCount } = options;
  const size = (piece: number): number => (piece === pieceCount - 1 ? BLOCK + 100 : BLOCK * BLOCKS);
  const verified = new Set(options.held);
  const received = new Set<string>();
  const asked = new Map<string, Set<number>>();
  const peers = new Map<number, Set<number>>();
  const bonds = new Map<number, number>();
  const blocksOf = (piece: number): number => Math.ceil(size(piece) / BLOCK);
  const key = (piece: number, block: number): string => `${piece}.${block}`;
  const picker: Picker<number> = createPicker<number>({
    pieceCount,
    pieceSize: size,
    held: (piece) => options.held.has(piece),
    random: seeded(options.seed),
    ...(options.name === undefined ? {} : { name: options.name }),
    dropped(piece) {
      for (let block = 0; block < blocksOf(piece); block++) {
        if ((asked.get(key(piece, block))?.size ?? 0) > 0) throw new Error('dropped while asked');
        received.delete(key(piece, block));
      }
    },
  });
  let now = 0;

  const isAsked = (piece: number, block: number): boolean => (asked.get(key(piece, block))?.size ?? 0) > 0;

  function allAsked(): boolean {
    for (let piece = 0; piece < pieceCount; piece++) {
      if (verified.has(piece)) continue;
      for (let block = 0; block < blocksOf(piece); block++) {
        if (!received.has(key(piece, block)) && !isAsked(piece, block)) return false;
      }
    }
    return true;
  }

  function check(block: Block, peer: number, endgame: boolean): void {
    const number = block.offset / BLOCK;
    const name = key(block.piece, number);
    if (peers.get(peer)?.has(block.piece) !== true) throw new Error(`${peer} has not piece ${block.piece}`);
    if (verified.has(block.piece) || received.has(name)) throw new Error(`${name} is here`);
    if (block.length !== Math.min(BLOCK, size(block.piece) - block.offset)) throw new Error('wrong length');
    const others = asked.get(name) ?? new Set();
    if (others.has(peer)) throw new Error(`${name} asked of ${peer} twice`);
    if (others.size > 0 && !endgame) throw new Error(`${name} asked twice outside endgame`);
    if (others.size > 1) throw new Error(`${name} asked of three`);
    const bond = bonds.get(block.piece);
    if (bond !== undefined && bond !== peer) throw new Error(`${name} is bonded to ${bond}`);
    asked.set(name, others.add(peer));
  }

  const model = {
    pieceCount,
    picker,
    peers,
    verified,
    asked,
    join(peer: number, far: boolean): void {
      if (peers.has(peer)) return;
      peers.set(peer, new Set());
      picker.join(peer, { far, name: `peer ${peer}` });
    },
    leave(peer: number): void {
      if (!peers.delete(peer)) return;
      for (const others of asked.values()) others.delete(peer);
      for (const [piece, bond] of bonds) if (bond === peer) bonds.delete(piece);
      picker.leave(peer);
      for (const name of received) {
        const piece = Number(name.split('.')[0]);
        if (verified.has(piece)) received.delete(name);
      }
    },
    have(peer: number, piece: number): void {
      const has = peers.get(peer);
      if (has === undefined) return;
      const fresh = picker.have(peer, piece);
      if (fresh === has.has(piece)) throw new Error('have() and the model differ');
      has.add(piece);
    },
    haveAll(peer: number): void {
      const has = peers.get(peer);
      if (has === undefined) return;
      picker.haveAll(peer);
      for (let piece = 0; piece < pieceCount; piece++) has.add(piece);
    },
    pick(peer: number, most: number): number {
      now += 10;
      const endgame = allAsked();
      const limits =
        options.maxOpenPieces === undefined ? { now } : { now, maxOpenPieces: options.maxOpenPieces };
      const blocks = picker.pick(peer, most, limits);
      if (blocks.length > most) throw new Error('more than asked for');
      if (peers.has(peer)) for (const block of blocks) check(block, peer, endgame);
      else if (blocks.length > 0) throw new Error('picked for a stranger');
      return blocks.length;
    },
    receive(peer: number, piece: number, block: number, good: boolean, only: number | undefined): void {
      const name = key(piece, block);
      if (verified.has(piece) || received.has(name)) return;
      const wasOpen = isOpen(piece);
      const others = asked.get(name) ?? new Set();
      const cancelled = picker.received(peer, piece, block * BLOCK);
      if (!wasOpen) return;
      others.delete(peer);
      if (cancelled.toSorted().join() !== [...others].toSorted().join()) throw new Error('wrong cancel list');
      others.clear();
      received.add(name);
      for (let other = 0; other < blocksOf(piece); other++) if (!received.has(key(piece, other))) return;
      picker.verifying(piece);
      bonds.delete(piece);
      if (good) model.verify(piece);
      else {
        for (let other = 0; other < blocksOf(piece); other++) received.delete(key(piece, other));
        if (only !== undefined && peers.get(only)?.has(piece)) bonds.set(piece, only);
        picker.failed(piece, only);
      }
    },
    verify(piece: number): void {
      if (verified.has(piece)) return;
      verified.add(piece);
      bonds.delete(piece);
      picker.verified(piece);
      for (let block = 0; block < blocksOf(piece); block++) {
        asked.delete(key(piece, block));
        received.delete(key(piece, block));
      }
    },
    release(peer: number, piece: number, block: number): void {
      if (bonds.get(piece) === peer && asked.get(key(piece, block))?.has(peer)) bonds.delete(piece);
      asked.get(key(piece, block))?.delete(peer);
      picker.released(peer, piece, block * BLOCK);
    },
    askedOf(peer: number): { piece: number; block: number }[] {
      const blocks: { piece: number; block: number }[] = [];
      for (const [name, others] of asked) {
        if (!others.has(peer)) continue;
        const [piece, block] = name.split('.').map(Number);
        blocks.push({ piece: piece ?? 0, block: block ?? 0 });
      }
      return blocks;
    },
    compare(): void {
      let unavailable = 0;
      for (let piece = 0; piece < pieceCount; piece++) {
        const holders = [...peers].filter(([, has]) => has.has(piece)).map(([peer]) => peer);
        if (picker.availability(piece) !== holders.length) throw new Error(`availability of ${piece}`);
        if (picker.holders(piece).toSorted().join() !== holders.toSorted().join()) throw new Error('holders');
        if (holders.length === 0 && !verified.has(piece)) unavailable++;
      }
      if (picker.unavailable() !== unavailable) throw new Error('unavailable()');
      if (picker.missing !== pieceCount - verified.size) throw new Error('missing');
      for (const [peer, has] of peers) {
        if (picker.count(peer) !== has.size) throw new Error('count()');
        if (picker.wants(peer) !== [...has].some((piece) => !verified.has(piece))) throw new Error('wants()');
        if (picker.outstanding(peer) !== model.askedOf(peer).length) throw new Error('outstanding()');
      }
      if (options.maxOpenPieces !== undefined && picker.openPieces > options.maxOpenPieces + bonds.size) {
        throw new Error('too many open pieces');
      }
    },
  };

  /** Open for the picker: something of it is asked, here or bonded. */
  function isOpen(piece: number): boolean {
    if (bonds.has(piece)) return true;
    for (let block = 0; block < blocksOf(piece); block++) {
      if (isAsked(piece, block) || received.has(key(piece, block))) return true;
    }
    return false;
  }
  return model;
}

type Model = ReturnType<typeof createModel>;

/** Everybody who is there delivers all that is asked, until nothing moves. */
function drain(model: Model): void {
  for (let idle = 0; idle < 300; ) {
    let moved = false;
    for (const peer of model.peers.keys()) {
      model.pick(peer, 3);
      for (const { piece, block } of model.askedOf(peer)) {
        model.receive(peer, piece, block, true, undefined);
        moved = true;
      }
    }
    idle = moved ? 0 : idle + 1;
  }
}

const action = fc.record({
  kind: fc.constantFrom(
    'join',
    'join',
    'have',
    'have',
    'have',
    'have',
    'all',
    'leave',
    'pick',
    'pick',
    'pick',
    'receive',
    'receive',
    'receive',
    'release',
    'verify',
    'window',
    'pace',
  ),
  peer: fc.nat(5),
  piece: fc.nat(11),
  number: fc.nat(11),
  flag: fc.boolean(),
});

function act(
  model: Model,
  step: typeof action extends fc.Arbitrary<infer A> ? A : never,
  zones: boolean,
): void {
  const { peer, number, flag } = step;
  const piece = step.piece % model.pieceCount;
  const mine = model.askedOf(peer);
  const chosen = mine[number % Math.max(1, mine.length)];
  if (step.kind === 'join') model.join(peer, zones && peer >= 3);
  if (step.kind === 'have') model.have(peer, piece);
  if (step.kind === 'all' && flag) model.haveAll(peer);
  if (step.kind === 'leave') model.leave(peer);
  if (step.kind === 'pick') model.pick(peer, number);
  if (step.kind === 'receive' && chosen) {
    model.receive(peer, chosen.piece, chosen.block, number > 4, flag ? step.piece % 6 : undefined);
  }
  if (step.kind === 'receive' && !chosen && piece < model.pieceCount - 1)
    model.receive(peer, piece, number % BLOCKS, true, undefined);
  if (step.kind === 'release' && chosen) model.release(peer, chosen.piece, chosen.block);
  if (step.kind === 'verify' && flag && number < 2) model.verify(piece);
  if (step.kind === 'window') model.picker.window(piece, piece + number - 2);
  if (step.kind === 'pace') model.picker.pace(peer, number * 1_000);
}

for (const zones of [false, true]) {
  t.test(`agrees with a naive model, and gets all there is${zones ? ' (with zones)' : ''}`, async () => {
    fc.assert(
      fc.property(
        fc.array(action, { maxLength: 200, size: 'max' }),
        fc.nat(),
        fc.constantFrom(2, 3, 12),
        fc.uniqueArray(fc.nat(11), { maxLength: 2 }),
        fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
        (steps, seed, pieceCount, held, maxOpenPieces) => {
          const model = createModel({
            pieceCount,
            held: new Set(held.map((piece) => piece % pieceCount)),
            seed,
            ...(zones ? { name: 'us' } : {}),
            ...(maxOpenPieces === undefined ? {} : { maxOpenPieces }),
          });
          for (const step of steps) {
            act(model, step, zones);
            model.compare();
          }
          drain(model);
          model.compare();
          for (const [peer, has] of model.peers) {
            for (const piece of has) {
              if (!model.verified.has(piece)) throw new Error(`piece ${piece} of ${peer} was never picked`);
            }
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
}

t.test('rarest first, random among equals', async (t) => {
  const first = new Map<number, number>();
  for (let seed = 0; seed < 200; seed++) {
    const picker = createPicker<string>({
      pieceCount: 200,
      pieceSize: () => BLOCK,
      held: () => false,
      random: seeded(seed),
    });
    for (const peer of ['a', 'b', 'c']) picker.join(peer);
    picker.haveAll('a');
    for (let piece = 0; piece < 200; piece++) {
      if (piece % 50 !== 0) picker.have('b', piece);
      if (piece % 2 === 0) picker.have('c', piece);
    }
    const [block] = picker.pick('a', 1);
    first.set(block?.piece ?? -1, (first.get(block?.piece ?? -1) ?? 0) + 1);
  }
  // Those with one counted peer: multiples of 50 are at c only, odd ones at b only.
  t.notOk(
    [...first.keys()].some((piece) => piece % 2 === 0 && piece % 50 !== 0),
    'never one that is common',
  );
  t.ok(first.size > 20, 'the choice is spread');
});

t.test('neighbouring blocks, whole pieces from one peer', async (t) => {
  const picker = createPicker<string>({ pieceCount: 8, pieceSize: () => BLOCK * 8, held: () => false });
  for (const peer of ['a', 'b']) {
    picker.join(peer);
    picker.haveAll(peer);
  }
  const begun = picker.pick('a', 5);
  t.same(
    begun.map((block) => block.offset / BLOCK),
    [0, 1, 2, 3, 4],
  );
  const other = picker.pick('b', 8);
  t.not(other[0]?.piece, begun[0]?.piece, 'b begins a piece of its own');
  const rest = picker.pick('a', 3);
  t.same(
    rest.map((block) => [block.piece, block.offset / BLOCK]),
    [5, 6, 7].map((at) => [begun[0]?.piece, at]),
  );
});

t.test('a slow peer does not keep the last block', async (t) => {
  const picker = createPicker<string>({ pieceCount: 1, pieceSize: () => BLOCK, held: () => false });
  for (const peer of ['slow', 'fast', 'alike']) {
    picker.join(peer);
    picker.haveAll(peer);
  }
  picker.pace('slow', 10_000);
  picker.pace('alike', 12_000);
  picker.pace('fast', 1_000_000);
  t.equal(picker.pick('slow', 1).length, 1);
  t.ok(picker.endgame);
  t.equal(picker.pick('alike', 1).length, 0, 'no gain, no duplicate');
  t.equal(picker.pick('fast', 1, { endgame: false }).length, 0);
  t.equal(picker.pick('fast', 1).length, 1);
  t.same(picker.received('fast', 0, 0), ['slow'], 'the slow one is told to cancel');
});

t.test('a window comes first, and not in the same order for all', async (t) => {
  const firsts = new Set<number>();
  for (let seed = 0; seed < 40; seed++) {
    const picker = createPicker<string>({
      pieceCount: 1_000,
      pieceSize: () => BLOCK,
      held: () => false,
      random: seeded(seed),
    });
    picker.join('a');
    picker.haveAll('a');
    picker.window(100, 115);
    const pieces = picker.pick('a', 16).map((block) => block.piece);
    t.same(
      pieces.toSorted((a, b) => a - b),
      Array.from({ length: 16 }, (_, at) => 100 + at),
    );
    firsts.add(pieces[0] ?? -1);
  }
  t.ok(firsts.size > 5);
});

t.test('a zone fetches each piece over one gateway', async (t) => {
  const names = ['n0', 'n1', 'n2', 'n3'];
  const fetched = new Map<number, number>();
  for (const name of names) {
    const picker = createPicker<string>({ pieceCount: 400, pieceSize: () => BLOCK, held: () => false, name });
    for (const near of names) if (near !== name) picker.join(near, { name: near });
    picker.join('far', { far: true, name: 'far' });
    picker.haveAll('far');
    const blocks = picker.pick('far', 1_000, { now: 1 });
    t.ok(blocks.length > 60 && blocks.length < 140, 'about a quarter each');
    for (const { piece } of blocks) fetched.set(piece, (fetched.get(piece) ?? 0) + 1);
    if (name !== 'n0') continue;
    t.equal(picker.pick('far', 1_000, { now: 900 }).length, 0);
    t.equal(picker.pick('far', 1_000, { now: 2_000 }).length, 400 - blocks.length, 'hungry: from anybody');
  }
  t.equal(fetched.size, 400, 'every piece has a gateway');
  t.equal(
    [...fetched.values()].every((times) => times === 1),
    true,
    'and one only',
  );
});
