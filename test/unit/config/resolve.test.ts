import { writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  ConfigError,
  defineOptions,
  derived,
  environmentName,
  flagName,
  hostPort,
  oneOf,
  optional,
  printSettings,
  repeated,
  resolveOptions,
  size,
  unknownVariables,
  url,
  withDefault,
} from '#config';

const table = defineOptions({
  listen: withDefault(hostPort, '127.0.0.1:5001', 'where'),
  origin: repeated(url, 'origins'),
  'cache.size': withDefault(size, '1GiB', 'how much'),
  'log.level': withDefault(oneOf('debug', 'info'), 'info', 'how loud'),
  'peer.listen': derived(hostPort, (earlier) => earlier('listen')?.concat('1'), 'beside listen', 'peers'),
  zone: optional(oneOf('a', 'b'), 'zone'),
});

/** Problems of a resolution that must fail. */
function problemsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error('nothing was refused');
}

t.test('flags beat environment beats file beats defaults, for every combination', async (t) => {
  const folder = t.testdir();
  const file = path.join(folder, 'shoal.yaml');
  writeFileSync(file, 'cache:\n  size: 2MiB\n');
  fc.assert(
    fc.property(fc.boolean(), fc.boolean(), fc.boolean(), (flag, environment, inFile) => {
      const { values, settings } = resolveOptions(table, {
        flags: flag ? { 'cache-size': ['4MiB'] } : {},
        environment: environment ? { SHOAL_CACHE_SIZE: '3MiB' } : {},
        file: inFile ? file : undefined,
      });
      const [expected, source] = flag
        ? [4, 'flag --cache-size']
        : environment
          ? [3, 'environment SHOAL_CACHE_SIZE']
          : inFile
            ? [2, `${file}:2`]
            : [1024, 'default'];
      return values['cache.size'] === expected * 1024 ** 2 && settings.get('cache.size')?.source === source;
    }),
  );
  t.pass('held');
});

t.test('names follow from the key', async (t) => {
  t.equal(flagName('cache.size'), 'cache-size');
  t.equal(environmentName('cache.size'), 'SHOAL_CACHE_SIZE');
  t.equal(environmentName('oci-layout'), 'SHOAL_OCI_LAYOUT');
});

t.test('lists: repeated flags, a comma list, a YAML list, a single YAML value', async (t) => {
  const file = path.join(
    t.testdir({ 'a.yaml': 'origin:\n  - http://a\n  - http://b/\n', 'b.yaml': 'origin: http://c' }),
    'a.yaml',
  );
  t.strictSame(resolveOptions(table, { flags: { origin: ['http://x', 'http://y'] } }).values.origin, [
    'http://x',
    'http://y',
  ]);
  t.strictSame(resolveOptions(table, { environment: { SHOAL_ORIGIN: 'http://x, http://y' } }).values.origin, [
    'http://x',
    'http://y',
  ]);
  t.strictSame(resolveOptions(table, { file }).values.origin, ['http://a', 'http://b']);
  t.strictSame(resolveOptions(table, { file: file.replace('a.yaml', 'b.yaml') }).values.origin, ['http://c']);
  t.strictSame(resolveOptions(table, {}).values.origin, []);
});

t.test('a derived default follows the option it is derived from', async (t) => {
  const { values } = resolveOptions(table, { flags: { listen: ['10.0.0.1:500'] } });
  t.strictSame(values['peer.listen'], { host: '10.0.0.1', port: 5001 });
  t.equal(values.zone, undefined);
});

t.test('a flag that is given twice counts once, the last one', async (t) => {
  t.equal(resolveOptions(table, { flags: { zone: ['a', 'b'] } }).values.zone, 'b');
});

t.test('unknown keys name the file, the line and the nearest key', async (t) => {
  const folder = t.testdir({
    'x.yaml': 'listen: 127.0.0.1:1\n\ncache:\n  sise: 1GiB\norigins: http://a\nzzzzzzzzzz: 1\n',
  });
  const file = path.join(folder, 'x.yaml');
  t.strictSame(
    problemsOf(() => resolveOptions(table, { file })),
    [
      `${file}:4: unknown key 'cache.sise'; did you mean 'cache.size'?`,
      `${file}:5: unknown key 'origins'; did you mean 'origin'?`,
      `${file}:6: unknown key 'zzzzzzzzzz'; the keys are ${Object.keys(table).join(', ')}`,
    ],
  );
});

t.test('wrong values name key, source and what is expected', async (t) => {
  const file = path.join(
    t.testdir({ 'x.yaml': 'cache:\n  size: lots\nzone: [a, b]\norigin: {a: b}\n' }),
    'x.yaml',
  );
  const problems = problemsOf(() =>
    resolveOptions(table, { file, flags: { listen: ['here'] }, environment: { SHOAL_LOG_LEVEL: 'loud' } }),
  );
  t.strictSame(problems, [
    `${file}:4: 'origin' must be a single value or a list of them`,
    "listen: 'here' (flag --listen) is wrong: expected HOST:PORT, for example 127.0.0.1:5000 or [::1]:5000",
    `cache.size: 'lots' (${file}:2) is wrong: expected a size such as 10GiB or 500MB`,
    "log.level: 'loud' (environment SHOAL_LOG_LEVEL) is wrong: expected one of debug, info",
    `zone: 'a, b' (${file}:3) is wrong: expected one of a, b`,
  ]);
});

t.test('broken, empty, strange and missing files', async (t) => {
  const folder = t.testdir({
    'broken.yaml': 'listen: 127.0.0.1:1\ncache: [1\n',
    'twice.yaml': 'zone: a\nzone: b\n',
    'empty.yaml': '# nothing yet\n',
    'list.yaml': '- a\n- b\n',
    'null.yaml': 'zone:\n',
    'alias.yaml': 'listen: &here 127.0.0.1:7\npeer:\n  listen: *here\n',
  });
  const at = (name: string): string => path.join(folder, name);
  t.match(problemsOf(() => resolveOptions(table, { file: at('broken.yaml') }))[0], /broken\.yaml:[23]: /);
  t.match(problemsOf(() => resolveOptions(table, { file: at('twice.yaml') }))[0], /twice\.yaml:2: .*unique/);
  t.strictSame(resolveOptions(table, { file: at('empty.yaml') }).values.origin, []);
  t.match(
    problemsOf(() => resolveOptions(table, { file: at('list.yaml') }))[0],
    /list\.yaml:1: the file must hold keys/,
  );
  t.match(problemsOf(() => resolveOptions(table, { file: at('null.yaml') }))[0], /zone: '' .*null\.yaml:1/);
  t.equal(resolveOptions(table, { file: at('alias.yaml') }).values['peer.listen'].port, 7);
  t.match(
    problemsOf(() => resolveOptions(table, { file: at('none.yaml') }))[0],
    /cannot read .*none\.yaml: there is no such file/,
  );
});

t.test('no text of a file makes it throw anything but a ConfigError', async (t) => {
  const folder = t.testdir();
  const file = path.join(folder, 'any.yaml');
  const fragment = fc.constantFrom(
    'cache:',
    ' size:',
    '\n',
    '- ',
    '&a ',
    '*a',
    '{',
    '}',
    '[',
    ']',
    '"',
    '1GiB',
    '? ',
    '!!int ',
    '| ',
    '#',
    '\t',
    '---\n',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(fragment).map((parts) => parts.join('')),
      ),
      (text) => {
        writeFileSync(file, text);
        try {
          resolveOptions(table, { file });
          return true;
        } catch (error) {
          return error instanceof ConfigError && error.problems.length > 0;
        }
      },
    ),
    { numRuns: 500 },
  );
  t.pass('held');
});

t.test('what print shows is a file that gives the same values', async (t) => {
  const folder = t.testdir();
  const file = path.join(folder, 'again.yaml');
  fc.assert(
    fc.property(
      fc.record(
        {
          origin: fc.array(fc.constantFrom('http://a', 'https://b:1', 'http://[::1]:5000'), { minLength: 1 }),
          'cache-size': fc.integer({ min: 1, max: 1e9 }).map((n) => [`${n}`]),
          listen: fc.integer({ min: 0, max: 65535 }).map((n) => [`[::1]:${n}`]),
          zone: fc.constantFrom(['a'], ['b']),
        },
        { requiredKeys: [] },
      ),
      (flags) => {
        const first = resolveOptions(table, { flags: { ...flags, 'peer-listen': ['127.0.0.1:1'] } });
        writeFileSync(file, printSettings('again', table, first.settings));
        const second = resolveOptions(table, { file });
        t.strictSame(second.values, first.values);
      },
    ),
    { numRuns: 50 },
  );
});

t.test('print names the source of each value', async (t) => {
  const { settings } = resolveOptions(table, {
    flags: { origin: ['http://a'] },
    environment: { SHOAL_CACHE_SIZE: '5MB' },
  });
  t.equal(
    printSettings('shoal test', table, settings),
    [
      '# shoal test',
      '',
      'listen: 127.0.0.1:5001 # default',
      'origin:',
      '  - http://a # flag --origin',
      'cache:',
      '  size: 5MB # environment SHOAL_CACHE_SIZE',
      'log:',
      '  level: info # default',
      'peer:',
      '  listen: 127.0.0.1:50011 # default',
      '# not set: zone',
      '',
    ].join('\n'),
  );
});

t.test('unknown variables are named with the nearest known one', async (t) => {
  const known = new Set(['SHOAL_CACHE_SIZE', 'SHOAL_ZONE']);
  const environment = { SHOAL_CASH_SIZE: '1', SHOAL_ZONE: 'a', PATH: '/bin', SHOAL_XYZZYXYZZY: '1' };
  t.strictSame(unknownVariables(environment, known), [
    'the environment variable SHOAL_CASH_SIZE means nothing to shoal; did you mean SHOAL_CACHE_SIZE?',
    'the environment variable SHOAL_XYZZYXYZZY means nothing to shoal',
  ]);
});

t.test('a table with clashing keys is refused where it is written', async (t) => {
  t.throws(
    () => defineOptions({ cache: optional(size, ''), 'cache.size': optional(size, '') }),
    /also a group/,
  );
  t.throws(() => defineOptions({ 'a.b': optional(size, ''), 'a-b': optional(size, '') }), /same flag/);
  t.throws(() => defineOptions({ 'A b': optional(size, '') }), /cannot be/);
});
