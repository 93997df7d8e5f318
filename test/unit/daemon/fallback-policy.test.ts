import fc from 'fast-check';
import t from 'tap';
import {
  byUrgency,
  DEFAULT_LIMITS,
  decide,
  mergedWindow,
  nextRun,
  nextWidth,
  type Progress,
  readsAlone,
  servesWaiting,
  waitPatienceMs,
} from '../../../daemon/fallback-policy.ts';

const healthy: Progress = {
  sinceSwarmPieceMs: 100,
  swarmBroughtPieces: true,
  sinceSwarmByteMs: 10,
  sinceAnyByteMs: 10,
  longestWaitMs: undefined,
  swarmBytesPerSecond: 50_000_000,
  knownPeers: 3,
  connectedPeers: 3,
  originFailed: false,
};

t.test('who is asked', async (t) => {
  const cases: [string, Partial<Progress>, ReturnType<typeof decide>][] = [
    ['a swarm that flows is left alone', {}, 'swarm'],
    ['a stall of the swarm', { sinceSwarmPieceMs: 2_000, sinceSwarmByteMs: 2_000 }, 'origin'],
    ['blocks flow and no piece is whole yet', { sinceSwarmPieceMs: 2_000 }, 'swarm'],
    ['blocks flow and no piece ever becomes whole', { sinceSwarmPieceMs: 6_000 }, 'origin'],
    ['blocks trickle', { sinceSwarmPieceMs: 2_000, swarmBytesPerSecond: 1_000 }, 'origin'],
    [
      'nobody known yet: the origin steps in sooner',
      { sinceSwarmPieceMs: 600, sinceSwarmByteMs: 600, swarmBroughtPieces: false, knownPeers: 0 },
      'origin',
    ],
    [
      'somebody known: the swarm has its time',
      { sinceSwarmPieceMs: 600, swarmBroughtPieces: false },
      'swarm',
    ],
    [
      'nobody known but pieces came',
      { sinceSwarmPieceMs: 600, sinceSwarmByteMs: 600, knownPeers: 0 },
      'swarm',
    ],
    [
      'the first blocks flow at whatever pace',
      {
        sinceSwarmPieceMs: 3_900,
        swarmBroughtPieces: false,
        swarmBytesPerSecond: 1_000,
        longestWaitMs: 3_900,
      },
      'swarm',
    ],
    [
      'the first blocks trickle for too long',
      {
        sinceSwarmPieceMs: 4_000,
        swarmBroughtPieces: false,
        swarmBytesPerSecond: 1_000,
        longestWaitMs: 4_000,
      },
      'origin',
    ],
    ['slow while a client waits', { longestWaitMs: 2_000, swarmBytesPerSecond: 1_000 }, 'origin'],
    ['slow and nobody waits', { swarmBytesPerSecond: 1_000 }, 'swarm'],
    ['fast, and a client has just begun to wait', { longestWaitMs: 2_000 }, 'swarm'],
    ['fast, and a client starves on one piece', { longestWaitMs: 6_000 }, 'origin'],
    ['nothing from anywhere', { sinceAnyByteMs: 30_000 }, 'give up'],
    [
      'nobody left to ask',
      { sinceAnyByteMs: 6_000, sinceSwarmPieceMs: 6_000, connectedPeers: 0, originFailed: true },
      'give up',
    ],
    [
      'the origin is gone, a peer is still there',
      { sinceAnyByteMs: 6_000, sinceSwarmPieceMs: 6_000, connectedPeers: 1, originFailed: true },
      'origin',
    ],
  ];
  for (const [name, change, expected] of cases) {
    t.equal(decide({ ...healthy, ...change }, DEFAULT_LIMITS), expected, name);
  }
});

t.test('agents that wait for the same piece do not ask at the same time', async (t) => {
  t.equal(
    waitPatienceMs(DEFAULT_LIMITS, () => 0),
    6_000,
  );
  t.equal(
    waitPatienceMs(DEFAULT_LIMITS, () => 0.5),
    9_000,
  );
  const starving = { ...healthy, longestWaitMs: 8_000 };
  t.equal(decide(starving, DEFAULT_LIMITS, 9_000), 'swarm');
  t.equal(decide(starving, DEFAULT_LIMITS, 8_000), 'origin');
});

t.test('runs are short at first, and longer while the swarm brings nothing', async (t) => {
  const widths: number[] = [];
  for (let width = nextWidth(0, 12); widths.length < 6; width = nextWidth(width, 12)) widths.push(width);
  t.same(widths, [1, 2, 4, 8, 12, 12]);
  t.equal(nextWidth(0, 0), 1, 'a piece larger than the longest run');
});

t.test('a blob is read straight from the origin while nobody else can have it', async (t) => {
  const alone = { discovered: true, knownPeers: 0, connectedAgents: 0, originFailed: false };
  t.ok(readsAlone(alone));
  t.notOk(readsAlone({ ...alone, discovered: false }), 'somebody may still be named');
  t.notOk(readsAlone({ ...alone, knownPeers: 1 }), 'the origin is used least');
  t.notOk(readsAlone({ ...alone, connectedAgents: 1 }), 'somebody has come');
  t.notOk(readsAlone({ ...alone, originFailed: true }));
});

t.test('a stream goes on while it comes to all who wait soon', async (t) => {
  const at = (piece: number, waitingSince?: number) => ({ piece, waitingSince });
  t.ok(servesWaiting([], 5, 8));
  t.ok(servesWaiting([at(5, 1), at(12, 2)], 5, 8));
  t.notOk(servesWaiting([at(5, 1), at(13, 2)], 5, 8), 'somebody waits far ahead');
  t.notOk(servesWaiting([at(4, 1)], 5, 8), 'and behind');
  t.ok(servesWaiting([at(4), at(99)], 5, 8), 'who reads what is here does not wait');
});

t.test('a run covers missing pieces only, the wanted ones first', async (t) => {
  const held = new Set([0, 1, 4]);
  const has = (piece: number): boolean => held.has(piece);
  t.same(nextRun({ has, pieces: 8, wanted: [4], maxPieces: 2 }), { first: 5, last: 6 });
  t.same(nextRun({ has, pieces: 8, wanted: [], maxPieces: 8 }), { first: 2, last: 3 });
  t.same(nextRun({ has: (piece) => piece > 2, pieces: 8, wanted: [5], maxPieces: 8 }), { first: 0, last: 2 });
  t.equal(nextRun({ has: () => true, pieces: 8, wanted: [3], maxPieces: 8 }), undefined);
});

t.test('runs from anywhere complete every blob', async () => {
  const input = fc.record({
    pieces: fc.integer({ min: 1, max: 60 }),
    held: fc.uniqueArray(fc.integer({ min: 0, max: 59 })),
    wanted: fc.array(fc.integer({ min: 0, max: 59 }), { maxLength: 4 }),
    maxPieces: fc.integer({ min: 1, max: 9 }),
  });
  fc.assert(
    fc.property(input, ({ pieces, held, wanted, maxPieces }) => {
      const have = new Set(held);
      for (let turn = 0; turn <= pieces; turn += 1) {
        const run = nextRun({ has: (piece) => have.has(piece), pieces, wanted, maxPieces });
        if (!run)
          return Array.from({ length: pieces }, (_, piece) => piece).every((piece) => have.has(piece));
        if (run.last - run.first + 1 > maxPieces || run.last >= pieces) return false;
        for (let piece = run.first; piece <= run.last; piece += 1) {
          if (have.has(piece)) return false;
          have.add(piece);
        }
      }
      return false;
    }),
  );
});

t.test('the window follows who waits longest, and takes in who reads beside', async (t) => {
  const has = (piece: number): boolean => piece < 3;
  const options = { has, pieces: 100, width: 10 };
  const reading = { piece: 2, waitingSince: undefined };
  const waiting = { piece: 50, waitingSince: 1 };
  t.same(mergedWindow(byUrgency([reading, waiting]), options), { first: 50, last: 59 });
  t.same(mergedWindow(byUrgency([reading, { ...waiting, waitingSince: undefined }]), options), {
    first: 3,
    last: 12,
  });
  t.same(mergedWindow(byUrgency([waiting, { piece: 45, waitingSince: 2 }]), options), {
    first: 45,
    last: 59,
  });
  t.same(mergedWindow([{ piece: 98, waitingSince: 1 }], options), { first: 98, last: 99 });
  t.equal(mergedWindow([], options), undefined);
  t.equal(mergedWindow([reading], { ...options, has: () => true }), undefined);
});
