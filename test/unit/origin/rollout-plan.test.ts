import fc from 'fast-check';
import t from 'tap';
import { parseSelector } from '../../../origin/rollouts/selector.ts';
import { shareOf } from '../../../origin/rollouts/shares.ts';
import { formatWaves, parseWaves, planWaves } from '../../../origin/rollouts/waves.ts';

const node = (name: string, zone?: string) => ({ id: `12D3KooW${name}`, name, zone });

t.test('selectors: zones contain what is in them, globs, and, or', async (t) => {
  const cases: readonly (readonly [string, ReturnType<typeof node>, boolean])[] = [
    ['*', node('a'), true],
    ['zone=eu1', node('a', 'eu1'), true],
    ['zone=eu1', node('a', 'eu1/rack7'), true],
    ['zone=eu1/*', node('a', 'eu1/rack7'), true],
    ['zone=eu1/*', node('a', 'eu1'), true],
    ['zone=eu1', node('a', 'eu10'), false],
    ['zone=eu*', node('a', 'eu10/rack1'), true],
    ['zone=*/rack7', node('a', 'eu1/rack7/u3'), true],
    ['zone=*/rack7', node('a', 'eu1/rack8'), false],
    ['zone=eu1', node('a'), false],
    ['name=web-*', node('web-12'), true],
    ['name=web-?', node('web-12'), false],
    ['name=web', node('web-12'), false],
    ['id=12D3KooWa', node('a'), true],
    ['zone=eu1&name=web-*', node('web-1', 'eu1'), true],
    ['zone=eu1&name=web-*', node('web-1', 'us'), false],
    ['zone=eu1, name=db-1', node('db-1', 'us'), true],
  ];
  for (const [text, each, expected] of cases)
    t.equal(parseSelector(text)(each), expected, `${text} ${each.name} ${each.zone}`);
  for (const bad of [
    '',
    'eu1',
    'zone=',
    'zone=eu1//x',
    'host=a',
    'name=a b',
    'zone=eu1,',
    '*&',
    'name=[ab]',
    `name=${'a'.repeat(2_000)}`,
  ]) {
    t.throws(() => parseSelector(bad), RangeError, bad);
  }
});

t.test('a glob means what the regular expression of it means, and takes no longer', async () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '-'), maxLength: 8 });
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '-', '*', '?'), minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(pattern, letters, (glob, name) => {
      const expected = new RegExp(`^${glob.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name);
      return parseSelector(`name=${glob}`)(node(name)) === expected;
    }),
    { numRuns: 2_000 },
  );
  parseSelector(`name=${'*a'.repeat(400)}b`)(node('a'.repeat(250)));
});

t.test('any text is a selector or is refused with words', async () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => {
      try {
        return typeof parseSelector(text)(node('a', 'eu1')) === 'boolean';
      } catch (error) {
        return error instanceof RangeError && error.message.length > 10;
      }
    }),
  );
});

t.test('waves: every node is in one, sizes are as asked, the first is spread over the zones', async (t) => {
  t.equal(formatWaves(parseWaves('10%, 50%,100%')), '10%,50%,100%');
  for (const bad of [
    '',
    '50%',
    '50%,50%,100%',
    '60%,50%,100%',
    '0%,100%',
    '5,3,100%',
    '120%',
    'x',
    '1,2,3',
    '-1%,100%',
  ]) {
    t.throws(() => parseWaves(bad), RangeError, bad);
  }
  const zones = ['eu1/r1', 'eu1/r2', 'eu2/r1', 'us/r1'];
  const nodes = Array.from({ length: 40 }, (_, at) => ({
    ...{ id: `n${String(at).padStart(2, '0')}`, zone: zones[at % zones.length], away: at < 4 },
  }));
  const planned = planWaves(nodes, parseWaves('10%,50%,100%'));
  const of = (wave: number) => nodes.filter(({ id }) => planned.get(id) === wave);
  t.strictSame([of(0).length, of(1).length, of(2).length], [4, 16, 20]);
  t.same(new Set(of(0).map(({ zone }) => zone?.split('/')[0])), new Set(['eu1', 'eu2', 'us']));
  t.ok(of(2).filter(({ away }) => away).length === 4, 'who is away seeds nobody');
  t.equal(planWaves(nodes.slice(0, 1), parseWaves('10%,50%,100%')).get('n00'), 0);
});

t.test('any plan: all nodes, rising waves without a gap, the first as spread as it can be', async () => {
  const anyNode = fc.record({
    zone: fc.constantFrom('a', 'b/x', 'b/y', 'c', undefined),
    away: fc.constant(false),
  });
  fc.assert(
    fc.property(
      fc.array(anyNode, { minLength: 1, maxLength: 40 }),
      fc.uniqueArray(fc.integer({ min: 1, max: 99 }), { maxLength: 4 }),
      (some, sizes) => {
        const nodes = some.map((each, at) => ({ ...each, id: `n${at}` }));
        const waves = [...sizes.sort((a, b) => a - b).map((percent) => ({ percent })), { percent: 100 }];
        const planned = planWaves(nodes, waves);
        if (planned.size !== nodes.length) return false;
        const last = Math.max(...planned.values());
        for (let wave = 0; wave <= last; wave += 1) if (![...planned.values()].includes(wave)) return false;
        const coarse = (zone: string | undefined) => zone?.split('/')[0] ?? '';
        const first = nodes.filter(({ id }) => planned.get(id) === 0);
        const reached = new Set(first.map(({ zone }) => coarse(zone))).size;
        return reached === Math.min(first.length, new Set(nodes.map(({ zone }) => coarse(zone))).size);
      },
    ),
  );
});

t.test('shares: their sum keeps to the rate and uses most of it, in few steps', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 100_000_000, max: 10_000_000_000 }),
      fc.integer({ min: 1, max: 10_000 }),
      (rate, active) => {
        const sum = shareOf(rate, active) * active;
        return sum <= rate && sum >= rate * 0.79;
      },
    ),
  );
  t.ok(new Set(Array.from({ length: 10_000 }, (_, at) => shareOf(1e12, at + 1))).size < 50);
});
