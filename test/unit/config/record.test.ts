import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { ConfigError, defineOptions, printSettings, record, repeated, resolveOptions } from '#config';

const table = defineOptions({
  rules: repeated(
    record({
      placeholder: "'who=… what=…'",
      fields: ['who', 'what'],
      make: ({ who = [], what = [] }) => (who.length === 0 ? 'who is missing' : { who, what }),
    }),
    'rules',
  ),
});

function problemsOf(text: string, folder: string): readonly string[] {
  const file = path.join(folder, 'x.yaml');
  writeFileSync(file, text);
  try {
    resolveOptions(table, { file });
  } catch (error) {
    if (error instanceof ConfigError)
      return error.problems.map((problem) => problem.replaceAll(file, 'x.yaml'));
    throw error;
  }
  throw new Error('nothing was refused');
}

t.test('a flag, a variable, a YAML map and a YAML text say the same', async (t) => {
  const file = path.join(t.testdir(), 'x.yaml');
  writeFileSync(file, 'rules:\n  - who: ann\n    what: [a, b]\n  - who=bob what=c\n');
  const expected = [
    { who: ['ann'], what: ['a', 'b'] },
    { who: ['bob'], what: ['c'] },
  ];
  const fromFile = resolveOptions(table, { file });
  t.strictSame(fromFile.values.rules, expected);
  t.strictSame(
    resolveOptions(table, { flags: { rules: ['who=ann what=a,b', 'who=bob what=c'] } }).values.rules,
    expected,
  );
  const environment = { SHOAL_RULES: 'who=ann what=a,b; who=bob what=c' };
  t.strictSame(resolveOptions(table, { environment }).values.rules, expected);
  writeFileSync(file, 'rules: {who: ann}\n');
  t.strictSame(resolveOptions(table, { file }).values.rules, [{ who: ['ann'], what: [] }]);
  writeFileSync(file, printSettings('again', table, fromFile.settings));
  t.strictSame(resolveOptions(table, { file }).values.rules, expected, 'what print shows is read again');
});

t.test('each problem names its line', async (t) => {
  const folder = t.testdir();
  t.strictSame(problemsOf('rules:\n  - who: ann\n\n  - what: a\n  - {who: x, wat: y}\n', folder), [
    "x.yaml:5: 'rules': unknown key 'wat'; did you mean 'what'?",
    "rules: 'what=a' (x.yaml:4) is wrong: who is missing",
  ]);
  t.strictSame(problemsOf('rules:\n  - who: {a: b}\n  - who: two words\n  - [a]\n', folder).slice(0, 3), [
    "x.yaml:2: 'rules': who must be a word or a list of words",
    "x.yaml:3: 'rules': who: 'two words' must be one word",
    "x.yaml:1: 'rules' must be a single value or a list of them, each with who, what",
  ]);
  t.match(problemsOf('rules:\n  - who=a who=b\n', folder), [/x\.yaml:2\) is wrong: who is given twice/]);
  t.match(problemsOf('rules: loud\n', folder), [/'loud' is none of who=…, what=…/]);
});
