import fc from 'fast-check';
import t from 'tap';
import {
  ORIGIN_GRACE_MS,
  type OriginUse,
  originUse,
  slowRate,
} from '../../../src/swarm/webtorrent/origin-use.ts';
import {
  type MemberView,
  type PickState,
  type PieceView,
  pick,
} from '../../../src/swarm/webtorrent/picker.ts';

interface TestMember extends MemberView {
  readonly name: string;
}

function member(name: string, has: readonly number[], more: Partial<TestMember> = {}): TestMember {
  return { name, origin: false, onParole: false, offers: (piece) => has.includes(piece), ...more };
}

const FRESH: PieceView = { free: true, open: false };
const OPEN: PieceView = { free: true, open: true };
const FULL: PieceView = { free: false, open: true };

function state(
  views: readonly (PieceView | undefined)[],
  more: Partial<PickState<TestMember>> = {},
): PickState<TestMember> {
  return {
    pieces: views.length,
    piece: (index) => views[index],
    window: undefined,
    open: [...views.keys()].filter((index) => views[index]?.open),
    mayOpen: true,
    othersWith: () => 1,
    originUse: 'all',
    reservedFor: () => undefined,
    ...more,
  };
}

const none: ReadonlySet<number> = new Set();
const all = member('all', [0, 1, 2, 3, 4, 5]);

t.test('the window comes first, in its order', async (t) => {
  const views = [FRESH, OPEN, FULL, FRESH, FRESH];
  t.equal(pick(state(views, { window: { from: 2, to: 4 } }), all, none), 3);
  t.equal(pick(state(views, { window: { from: 2, to: 4 } }), all, new Set([3])), 4);
  t.equal(pick(state(views, { window: { from: 2, to: 2 } }), all, none), 1, 'then what is open');
});

t.test('few pieces are open at once', async (t) => {
  t.equal(pick(state([FRESH, FRESH, OPEN]), all, none), 2);
  t.equal(pick(state([FRESH, FULL, FULL], { mayOpen: false }), all, none), undefined);
});

t.test('the rarest comes first', async (t) => {
  const counts = [3, 1, 2];
  t.equal(pick(state([FRESH, FRESH, FRESH], { othersWith: (piece) => counts[piece] ?? 0 }), all, none), 1);
  const picked = new Set<number | undefined>();
  for (const random of [0.01, 0.4, 0.99])
    picked.add(pick(state([FRESH, FRESH, FRESH]), all, none, () => random));
  t.ok(picked.size > 1, 'at random among equals');
});

t.test('the origin gives what is allowed', async (t) => {
  const origin = member('origin', [0, 1, 2], { origin: true });
  const counts = [1, 0, 2];
  const views = [FRESH, FRESH, FRESH];
  const at = (use: OriginUse) =>
    pick(state(views, { originUse: use, othersWith: (piece) => counts[piece] ?? 0 }), origin, none);
  t.equal(at('none'), undefined);
  t.equal(at('missing'), 1);
  const only = state([FRESH, undefined, FRESH], { originUse: 'missing' });
  t.equal(pick(only, origin, none), undefined);
  t.not(at('all'), undefined);
});

t.test('parole', async (t) => {
  const suspect = member('suspect', [0, 1, 2], { onParole: true });
  t.equal(pick(state([OPEN, FRESH, FULL]), suspect, none), 1, 'no piece that others fill');
  const reserved = state([OPEN, OPEN, FULL], { reservedFor: (piece) => (piece === 1 ? suspect : undefined) });
  t.equal(pick(reserved, suspect, none), 1, 'its own piece');
  t.equal(pick(reserved, all, none), 0, 'which nobody else gets');
});

t.test('no pick breaks a condition', async () => {
  const view = fc.constantFrom(undefined, FRESH, OPEN, FULL);
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          view,
          others: fc.nat(3),
          offered: fc.boolean(),
          tried: fc.boolean(),
          other: fc.boolean(),
        }),
        {
          maxLength: 30,
        },
      ),
      fc.record({ origin: fc.boolean(), onParole: fc.boolean(), mayOpen: fc.boolean() }),
      fc.constantFrom<OriginUse>('none', 'missing', 'all'),
      fc.option(fc.tuple(fc.nat(30), fc.nat(30)), { nil: undefined }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (pieces, { origin, onParole, mayOpen }, use, window, random) => {
        const me = member('me', [], { origin, onParole, offers: (piece) => pieces[piece]?.offered ?? false });
        const tried = new Set([...pieces.keys()].filter((index) => pieces[index]?.tried));
        const picked = pick(
          state(
            pieces.map((piece) => piece.view),
            {
              mayOpen,
              originUse: use,
              window: window && { from: Math.min(...window), to: Math.max(...window) },
              othersWith: (piece) => pieces[piece]?.others ?? 0,
              reservedFor: (piece) => (pieces[piece]?.other ? all : undefined),
            },
          ),
          me,
          tried,
          () => random,
        );
        const allowed = (index: number): boolean => {
          const piece = pieces[index];
          if (!piece?.view?.free || !piece.offered || piece.tried || piece.other) return false;
          if (origin && (use === 'none' || (use === 'missing' && piece.others > 0))) return false;
          return (piece.view.open && !onParole) || (!piece.view.open && mayOpen);
        };
        if (picked === undefined) return pieces.every((_piece, index) => !allowed(index));
        return allowed(picked);
      },
    ),
  );
});

t.test('when the origin is asked', async (t) => {
  const view = { ageMs: ORIGIN_GRACE_MS, others: 0, introducing: 0, unavailable: 9, slowForMs: 0 };
  t.equal(originUse({ ...view, ageMs: ORIGIN_GRACE_MS - 1 }), 'none', 'others may still be found');
  t.equal(originUse(view), 'all', 'nobody else is known');
  t.equal(originUse({ ...view, introducing: 1 }), 'none', 'somebody is being dialled');
  t.equal(originUse({ ...view, introducing: 1, ageMs: 2000 }), 'all', 'but not for long');
  t.equal(originUse({ ...view, others: 1 }), 'missing', 'others lack pieces');
  t.equal(originUse({ ...view, others: 1, unavailable: 0 }), 'none', 'others have everything');
  t.equal(originUse({ ...view, others: 1, unavailable: 0, slowForMs: 2000 }), 'all', 'others are slow');
  t.equal(slowRate(undefined), 1024 * 1024);
  t.equal(slowRate(100_000), 50_000, 'our own limit does not make them slow');
});
