import fc from 'fast-check';
import t from 'tap';
import { type ChokeCandidate, createChoker } from '../../../src/swarm/choker/index.ts';
import { needsOrigin, rankMembers, zoneDistance } from '../../../src/swarm/ranking/index.ts';
import { createSeeding } from '../../../src/swarm/seeding/index.ts';

const candidate = (peer: string, more: Partial<ChokeCandidate<string>> = {}): ChokeCandidate<string> => ({
  peer,
  interested: true,
  bytesSent: 0,
  ...more,
});

t.test('choker: everybody while there are slots, only who is interested', async (t) => {
  const choker = createChoker<string>({ slots: 3 });
  const allowed = choker.decide([candidate('a'), candidate('b', { interested: false }), candidate('c')], 0);
  t.same([...allowed].toSorted(), ['a', 'c']);
  t.ok(choker.allows('a'));
  t.notOk(choker.allows('b'));
});

t.test('choker: slots go round by turns of bytes, and nobody starves', async (t) => {
  const peers = Array.from({ length: 20 }, (_, at) => `peer ${at}`);
  const sent = new Map(peers.map((peer) => [peer, 0]));
  const choker = createChoker<string>({ slots: 4, turnBytes: 100 });
  for (let now = 0; now < 2_000; now += 10) {
    const candidates = peers.map((peer) =>
      candidate(peer, { bytesSent: sent.get(peer) ?? 0, waiting: true }),
    );
    const allowed = choker.decide(candidates, now);
    t.ok(allowed.size === 4);
    for (const peer of allowed) sent.set(peer, (sent.get(peer) ?? 0) + 50);
  }
  const amounts = [...sent.values()];
  t.ok(Math.max(...amounts) - Math.min(...amounts) <= 200, 'within two turns of one another');
});

t.test('choker: who does not use a slot loses it, who is behind comes sooner', async (t) => {
  const choker = createChoker<string>({ slots: 1, turnBytes: 100, idleMs: 50 });
  t.same([...choker.decide([candidate('idle', { waiting: false })], 0)], ['idle']);
  const both = [
    candidate('idle', { waiting: false }),
    candidate('ahead', { pieces: 90 }),
    candidate('behind', { pieces: 10 }),
  ];
  t.same([...choker.decide(both, 20)], ['idle'], 'it has a moment');
  t.same([...choker.decide(both, 80)], ['behind']);
});

t.test('seeding: distinct pieces to distinct peers, each once', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 8 }), (pieceCount, peerCount) => {
      const seeding = createSeeding<number>({ pieceCount });
      for (let peer = 0; peer < peerCount; peer++) seeding.join(peer, 0);
      const shownTo = new Map<number, number>();
      for (let now = 0; seeding.unrevealed > 0; now += 10) {
        const shown = seeding.revealAll(now);
        if (shown.length === 0) throw new Error('nothing is shown though pieces are left');
        for (const { peer, piece } of shown) {
          if (shownTo.has(piece)) throw new Error('shown twice');
          if (!seeding.shown(peer, piece)) throw new Error('shown() does not know');
          shownTo.set(piece, peer);
          seeding.taken(peer, piece, now);
          seeding.have(peer, piece, now);
          // Somebody else has it too: it has spread.
          seeding.have((peer + 1) % peerCount, piece, now);
        }
      }
      if (shownTo.size !== pieceCount) throw new Error('not all was shown');
    }),
  );
});

t.test('seeding: few pieces at a time, and what a peer kept is shown again when it leaves', async (t) => {
  const seeding = createSeeding<string>({ pieceCount: 100, totalDepth: 8 });
  for (const peer of ['a', 'b']) seeding.join(peer, 0);
  const first = seeding.revealAll(0);
  t.equal(first.length, 8);
  t.equal(first.filter(({ peer }) => peer === 'a').length, 4);
  t.equal(seeding.revealAll(1).length, 0, 'no more until something was taken');
  t.equal(seeding.unrevealed, 92);
  seeding.leave('a');
  t.equal(seeding.unrevealed, 96);
  t.equal(seeding.revealAll(2).length, 4);
});

t.test(
  'seeding: what did not spread is shown to somebody else, and a hungry peer gets everything',
  async (t) => {
    const seeding = createSeeding<string>({ pieceCount: 4, patienceMs: 1_000 });
    for (const peer of ['keeper', 'other']) seeding.join(peer, 0);
    const kept = seeding.revealAll(0).filter(({ peer }) => peer === 'keeper');
    t.equal(kept.length, 2);
    for (const { piece } of kept) seeding.taken('keeper', piece, 10);
    t.equal(seeding.revealAll(100).length, 0, 'patience');
    const again = seeding.revealAll(800);
    t.same(
      again
        .filter(({ peer }) => peer === 'other')
        .map(({ piece }) => piece)
        .toSorted(),
      kept.map(({ piece }) => piece).toSorted(),
    );
    const lone = createSeeding<string>({ pieceCount: 40, patienceMs: 1_000 });
    lone.join('gone', 0);
    lone.haveAll('gone');
    lone.join('lone', 0);
    t.equal(lone.revealAll(500).length, 0, 'everything is with the other');
    let got = 0;
    for (let now = 1_000; now < 5_000; now += 50) {
      for (const { peer, piece } of lone.revealAll(now)) {
        t.equal(peer, 'lone');
        got++;
        lone.taken('lone', piece, now);
        lone.have('lone', piece, now);
      }
    }
    t.equal(got, 40);
  },
);

t.test(
  'seeding: peers that do not know one another are served alike, from the first to the last piece',
  async (t) => {
    const peers = Array.from({ length: 20 }, (_, at) => at);
    const seeding = createSeeding<number>({ pieceCount: 300 });
    const got = new Map(peers.map((peer) => [peer, 0]));
    const queue: { readonly peer: number; readonly piece: number }[] = [];
    let least = 0;
    let sent = 0;
    const window: number[] = [];
    // One piece leaves every 100 ms; the others join when the first was shown as much as may wait.
    seeding.join(0, 0);
    queue.push(...seeding.revealAll(0));
    for (const peer of peers) seeding.join(peer, 1);
    for (let now = 100; sent < 20 * 300; now += 100) {
      queue.push(...seeding.revealAll(now));
      const next = queue.shift();
      if (next === undefined) {
        if (now > 1_000_000) break;
        continue;
      }
      sent++;
      seeding.taken(next.peer, next.piece, now);
      seeding.have(next.peer, next.piece, now);
      got.set(next.peer, (got.get(next.peer) ?? 0) + 1);
      window.push(next.peer);
      // After a piece each in turn nobody has waited for more than a few turns.
      if (window.length < 160) continue;
      least = new Set(window.splice(0)).size;
      if (sent < 280 * 20) t.equal(least, 20, `everybody was served before piece ${sent}`);
    }
    t.same(
      [...got.values()],
      peers.map(() => 300),
      'everybody has everything',
    );
  },
);

t.test('seeding: a newcomer does not take all turns of who was there before', async (t) => {
  const seeding = createSeeding<string>({ pieceCount: 1_000 });
  const got = new Map<string, number>();
  const queue: { readonly peer: string; readonly piece: number }[] = [];
  seeding.join('old', 0);
  for (let now = 0; now < 60_000; now += 100) {
    if (now === 40_000) {
      seeding.join('new', now);
      got.clear();
    }
    queue.push(...seeding.revealAll(now));
    const next = queue.shift();
    if (next === undefined) continue;
    seeding.taken(next.peer, next.piece, now);
    seeding.have(next.peer, next.piece, now);
    got.set(next.peer, (got.get(next.peer) ?? 0) + 1);
  }
  const old = got.get('old') ?? 0;
  const newer = got.get('new') ?? 0;
  t.equal(old + newer, 200, 'nothing waits for anybody');
  t.ok(Math.min(old, newer) / Math.max(old, newer) > 0.7, `the old one ${old}, the newcomer ${newer}`);
});

t.test('seeding: a piece that is stuck is shown to somebody else before all were shown', async (t) => {
  const seeding = createSeeding<string>({ pieceCount: 1_000 });
  for (const peer of ['stuck', 'a', 'b']) seeding.join(peer, 0);
  const stuck = new Map<number, number>();
  const shownAgain = new Map<number, number>();
  const queue: { readonly peer: string; readonly piece: number }[] = [];
  for (let now = 0; now < 12_000; now += 50) {
    for (const shown of seeding.revealAll(now)) {
      if (stuck.has(shown.piece)) shownAgain.set(shown.piece, now);
      if (shown.peer === 'stuck') stuck.set(shown.piece, now);
      else queue.push(shown);
    }
    // A piece leaves at a time, and the two pass it on at once.
    const next = queue.shift();
    if (next === undefined) continue;
    seeding.taken(next.peer, next.piece, now);
    for (const sharer of ['a', 'b']) seeding.have(sharer, next.piece, now);
  }
  t.ok(seeding.unrevealed > 0, 'there are still pieces that nobody was shown');
  t.ok(stuck.size > 0 && stuck.size < 20, `who passes nothing on was shown little: ${stuck.size}`);
  for (const [piece, at] of stuck) {
    if (at > 6_000) continue;
    t.ok((shownAgain.get(piece) ?? 0) > at, `piece ${piece} was shown to somebody else`);
  }
});

t.test('seeding: who knows our pieces is shown none', async (t) => {
  const seeding = createSeeding<string>({ pieceCount: 10 });
  seeding.join('knows', 0, true);
  t.equal(seeding.revealAll(10_000).length, 0);
  seeding.have('knows', 3, 10_000);
  t.equal(seeding.unrevealed, 9);
});

t.test('ranking: near first but never only, the origin last', async (t) => {
  const near = Array.from({ length: 40 }, (_, at) => ({ host: `n${at}`, port: 1, zone: 'eu/r1' }));
  const far = Array.from({ length: 40 }, (_, at) => ({ host: `f${at}`, port: 1, zone: `eu/r${at + 2}` }));
  const origin = { host: 'o', port: 1, role: 'origin' as const };
  const ranked = rankMembers([origin, ...far, ...near], { zone: 'eu/r1', limit: 20 });
  t.equal(ranked.length, 81, 'nobody is lost');
  t.equal(new Set(ranked).size, 81, 'or doubled');
  t.equal(ranked.at(-1), origin);
  for (const length of [8, 20, 40]) {
    const share = ranked.slice(0, length).filter(({ host }) => host.startsWith('f')).length / length;
    t.ok(share >= 0.2 && share <= 0.35, `far share of the first ${length}: ${share}`);
  }
  t.equal(zoneDistance('eu/r1', 'eu/r1'), 0);
  t.equal(zoneDistance('eu/r1', 'eu/r2'), 1);
  t.equal(zoneDistance('eu/r1', 'us/r1'), 2);
  t.equal(zoneDistance(undefined, 'us/r1'), 0);
});

t.test('ranking: the origin when the others do not suffice', async (t) => {
  const well = {
    ageMs: 10_000,
    discovered: false,
    connectedAgents: 4,
    untriedAgents: 0,
    unavailablePieces: 0,
    bytesPerSecond: 10e6,
    enoughBytesPerSecond: 2e6,
  };
  t.notOk(needsOrigin(well));
  t.ok(needsOrigin({ ...well, unavailablePieces: 3 }));
  t.ok(needsOrigin({ ...well, bytesPerSecond: 1e6 }));
  t.notOk(needsOrigin({ ...well, ageMs: 1_000, bytesPerSecond: 1e6 }), 'pipelines fill first');
  t.notOk(
    needsOrigin({ ...well, ageMs: 50, connectedAgents: 0, untriedAgents: 5 }),
    'the others are met first',
  );
  t.ok(needsOrigin({ ...well, ageMs: 600, connectedAgents: 0, untriedAgents: 5 }));
  const nobody = { ...well, ageMs: 50, connectedAgents: 0, untriedAgents: 0 };
  t.notOk(needsOrigin(nobody), 'discovery has a moment to answer');
  t.ok(needsOrigin({ ...nobody, discovered: true }), 'it has answered: there is nobody to wait for');
  t.ok(needsOrigin({ ...nobody, ageMs: 100 }), 'it does not answer');
});
