import fc from 'fast-check';
import { parse, stringify } from 'smol-toml';
import t from 'tap';
import { withConfigPath, withFirstHost } from '../../../daemon/node/toml.ts';

const V2 = 'io.containerd.grpc.v1.cri';
const V3 = 'io.containerd.cri.v1.images';
const AGENT = 'http://127.0.0.1:5001';

t.test('config_path goes where it belongs, and nothing else moves', async (t) => {
  const cases: readonly (readonly [why: string, plugin: string, before: string, after: string])[] = [
    ['no section', V2, 'version = 2\n', `version = 2\n\n[plugins."${V2}".registry]\n  config_path = "/c"\n`],
    [
      'the section is there, with a comment and neighbours',
      V2,
      `version = 2\n[plugins]\n  [plugins."${V2}".registry] # mine\n    # kept\n    [plugins."${V2}".registry.headers]\n      a = ["b"]\n`,
      `version = 2\n[plugins]\n  [plugins."${V2}".registry] # mine\n    config_path = "/c"\n    # kept\n    [plugins."${V2}".registry.headers]\n      a = ["b"]\n`,
    ],
    [
      "an empty one, as 'containerd config default' prints it, beside another plugin's",
      V3,
      `version = 3\n[plugins.'other']\n  config_path = ''\n[plugins.'${V3}'.registry]\n  config_path = '' # empty\n`,
      `version = 3\n[plugins.'other']\n  config_path = ''\n[plugins.'${V3}'.registry]\n  config_path = "/c" # empty\n`,
    ],
    [
      'no newline at the end',
      V2,
      'version = 2',
      `version = 2\n\n[plugins."${V2}".registry]\n  config_path = "/c"\n`,
    ],
    [
      'lines of Windows',
      V2,
      'version = 2\r\n',
      `version = 2\r\n\r\n[plugins."${V2}".registry]\r\n  config_path = "/c"\r\n`,
    ],
    [
      'a string that looks like the section',
      V2,
      `a = """\n[plugins."${V2}".registry]\n"""\n`,
      `a = """\n[plugins."${V2}".registry]\n"""\n\n[plugins."${V2}".registry]\n  config_path = "/c"\n`,
    ],
  ];
  for (const [why, plugin, before, after] of cases) t.equal(withConfigPath(before, plugin, '/c'), after, why);
  t.equal(
    withConfigPath(`plugins = { "${V2}" = { registry = {} } }\n`, V2, '/c'),
    undefined,
    'an inline table is left alone',
  );
  t.equal(withConfigPath('', V2, '/c', 2)?.split('\n')[0], 'version = 2');
});

t.test('our host comes first, before the comments of the one that was first', async (t) => {
  const mine = `[host."${AGENT}"]\n  capabilities = ["pull", "resolve"]\n`;
  t.equal(withFirstHost('', AGENT), mine);
  t.equal(withFirstHost(mine, AGENT), mine, 'already there');
  t.equal(
    withFirstHost('server = "https://r"\n\n# theirs\n[host."https://m"]\n  ca = "/x"\n', AGENT),
    `server = "https://r"\n\n${mine}\n# theirs\n[host."https://m"]\n  ca = "/x"\n`,
  );
  t.equal(withFirstHost(`[host."https://m"]\n[host."${AGENT}"]\n`, AGENT), undefined, 'there, but second');
});

t.test('whatever the file says, it says the same and the one thing more', async () => {
  const word = fc.stringMatching(/^[a-z]{1,6}$/);
  const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.string(), { maxLength: 3 }));
  const inner = fc.dictionary(word, leaf, { maxKeys: 3 });
  const registry = fc.record(
    { config_path: fc.constantFrom('', '/old'), headers: inner },
    { requiredKeys: [] },
  );
  const section = fc.record({ registry, containerd: inner }, { requiredKeys: [] });
  const plugins = fc.record({ [V2]: section, other: section }, { requiredKeys: [] });
  const file = fc.record({ version: fc.constant(2), grpc: inner, plugins }, { requiredKeys: ['version'] });
  fc.assert(
    fc.property(file, (content) => {
      const before = stringify(content);
      const after = withConfigPath(before, V2, '/etc/containerd/certs.d');
      const wanted = structuredClone(content) as unknown as Record<
        string,
        Record<string, Record<string, object>>
      >;
      wanted['plugins'] ??= {};
      wanted['plugins'][V2] ??= {};
      wanted['plugins'][V2]['registry'] = {
        ...wanted['plugins'][V2]['registry'],
        config_path: '/etc/containerd/certs.d',
      };
      t.strictSame(JSON.stringify(sorted(parse(after ?? ''))), JSON.stringify(sorted(wanted)));
      for (const line of before.split('\n').filter((each) => !each.includes('config_path'))) {
        if (!after?.split('\n').includes(line)) t.fail(`the line '${line}' is lost`);
      }
    }),
    { numRuns: 200 },
  );
});

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(fields.map(([key, inner]) => [key, sorted(inner)]));
}
