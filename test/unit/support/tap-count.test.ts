import t from 'tap';
import { createTapCounter } from '../../support/tap-count.ts';

function count(lines: readonly string[]) {
  const failures: string[] = [];
  const counter = createTapCounter({ failure: (where) => failures.push(where) });
  for (const line of lines) counter.line(line);
  return { ...counter.counts(), failures };
}

t.test('innermost tests count, assertions do not', async (t) => {
  const lines = [
    '# Subtest: a.test.ts',
    '    # Subtest: one',
    '        ok 1 - x',
    '        # Subtest: inner',
    '            ok 1 - y',
    '            ok 2 - z',
    '            1..2',
    '        ok 2 - inner # time=1ms',
    '        1..2',
    '    ok 1 - one # time=2ms',
    '    ok 2 - later # SKIP no root',
    '    1..2',
    'ok 1 - a.test.ts # time=3ms',
  ];
  t.strictSame(count(lines), { passed: 1, failed: 0, skipped: 1, failures: [] });
});

t.test('a failure counts once, whatever its diagnostics hold', async (t) => {
  const lines = [
    '# Subtest: a.test.ts',
    '    # Subtest: two',
    '        not ok 1 - numbers',
    '          ---',
    '          source: |',
    '                not ok 1 - a line of the source',
    '          ...',
    '        1..1',
    '    not ok 1 - two # time=2ms',
    '      ---',
    '      at: x',
    '      ...',
    '    1..1',
    'not ok 1 - a.test.ts # time=3ms',
    '  ---',
    '  exitCode: 1',
    '  ...',
  ];
  t.strictSame(count(lines), { passed: 0, failed: 1, skipped: 0, failures: ['a.test.ts > two > numbers'] });
});

t.test('a file without tests inside is one test; a timeout is a failure', async (t) => {
  const lines = [
    '# Subtest: a.test.ts',
    '    ok 1 - x',
    '    1..1',
    'ok 1 - a.test.ts # time=3ms',
    '# Subtest: b.test.ts',
    '    ok 1 - all of it # SKIP',
    'ok 2 - b.test.ts # time=3ms',
    'not ok 3 - timeout!',
    '  ---',
    '  expired: c.test.ts',
    '  ...',
  ];
  t.strictSame(count(lines), { passed: 1, failed: 1, skipped: 1, failures: ['timeout!'] });
});

t.test('a parent that fails by itself is counted beside its passed tests', async (t) => {
  const lines = [
    '# Subtest: a.test.ts',
    '    # Subtest: one',
    '        ok 1 - x',
    '    ok 1 - one # time=1ms',
    '    1..1',
    'not ok 1 - a.test.ts # time=3ms',
    '  ---',
    '  exitCode: 1',
    '  ...',
  ];
  t.strictSame(count(lines), { passed: 1, failed: 1, skipped: 0, failures: ['a.test.ts'] });
});
