/** Upstreams as they are written on the command line and in YAML, and how their repositories are called. */
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { ConfigError, resolveOptions } from '#config';
import { parseRepositoryName } from '#oci';
import { originConfig, originOptions } from '#origin/options';
import { standsFor } from '../../../origin/registry/lookup.ts';
import { componentToHost, hostToComponent } from '../../../origin/upstream/names.ts';

function configOf(upstream: readonly string[], flags: Readonly<Record<string, readonly string[]>> = {}) {
  const { values } = resolveOptions(originOptions, { flags: { upstream, ...flags } });
  return originConfig(values).upstreams ?? [];
}

function problemOf(
  upstream: readonly string[],
  flags: Readonly<Record<string, readonly string[]>> = {},
): string {
  try {
    configOf(upstream, flags);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.join('\n');
    throw error;
  }
  return '';
}

t.test('NAME=URL is enough', async (t) => {
  t.same(configOf(['docker.io=https://registry-1.docker.io', 'Registry.Test:5000=http://127.0.0.1:5000/']), [
    {
      ...{ name: 'docker.io', url: 'https://registry-1.docker.io' },
      ...{ staleMs: 86_400_000, timeoutMs: 10_000, isPublic: false },
    },
    {
      ...{ name: 'registry.test:5000', url: 'http://127.0.0.1:5000' },
      ...{ staleMs: 86_400_000, timeoutMs: 10_000, isPublic: false },
    },
  ]);
  t.same(configOf([]), []);
});

t.test('YAML has a map each, with credentials from files', async (t) => {
  const folder = t.testdir({
    'origin.yaml': `upstream:
  - docker.io=https://registry-1.docker.io
  - { name: quay.io, url: "https://quay.io", username: ann, password-file: /p, ca: /ca.pem, stale: 2h, timeout: 5s, public: true }
  - { name: ghcr.io, url: "https://ghcr.io", auth-file: /a.json, public: true }
`,
  });
  const { values } = resolveOptions(originOptions, { file: path.join(folder, 'origin.yaml') });
  t.match(originConfig(values).upstreams, [
    { name: 'docker.io', credentials: undefined },
    {
      ...{ name: 'quay.io', credentials: { username: 'ann', passwordFile: '/p' }, caFile: '/ca.pem' },
      ...{ staleMs: 7_200_000, timeoutMs: 5_000, isPublic: true },
    },
    { name: 'ghcr.io', credentials: { authFile: '/a.json' } },
  ]);
});

t.test('what is wrong is said', async (t) => {
  const url = 'https://registry.test';
  for (const [text, hint] of [
    [url, /expected NAME=URL/],
    [`library=${url}`, /NAME being the registry/],
    ['docker.io=ftp://registry.test', /expected http/],
    [`docker.io=${url}/path`, /no path/],
    ['docker.io=https://user:secret@registry.test', /expected http/],
    [`docker.io=${url} timeout=1m`, /at most 15s/],
    [`docker.io=${url} stale=never`, /stale: expected a duration/],
    [`docker.io=${url} public=yes`, /true or false/],
    [`docker.io=${url} username=a`, /both username and password-file/],
    [`docker.io=${url} auth-file=/a username=a password-file=/p`, /either auth-file/],
    [`docker.io=${url} password=x`, /none of name=/],
    ['docker.io=http://registry.test ca=/ca.pem', /needs none/],
  ] as const) {
    t.match(problemOf([text]), hint, text);
  }
  t.match(problemOf([`docker.io=${url}`, `docker.io=${url}`]), /docker\.io is given twice/);
});

t.test('credentials and everybody: refused, unless users or public are said', async (t) => {
  const upstream = ['quay.io=https://quay.io auth-file=/a.json'];
  t.match(problemOf(upstream), /quay\.io has credentials.*--access-htpasswd, or public=true/);
  t.equal(problemOf(upstream, { 'access-htpasswd': ['/users'] }), '');
  t.equal(problemOf([`${upstream[0]} public=true`]), '');
  const opened = (repositories: string) =>
    problemOf(upstream, {
      'access-htpasswd': ['/users'],
      'access-rules': [`subject=anonymous repositories=${repositories} actions=pull`],
    });
  for (const pattern of ['**', '*/**', 'q*/**', 'quay*', 'quay.io*/**'])
    t.match(opened(pattern), /narrow/, pattern);
  for (const pattern of ['team/**', 'quay.io/public/**', 'quay.io/**', 'docker.io/**', 'quay.io.test/*']) {
    t.equal(opened(pattern), '', pattern);
  }
});

t.test('a host and the first part of a name are each other', async () => {
  const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?$/);
  const host = fc
    .tuple(fc.array(label, { minLength: 2, maxLength: 4 }), fc.option(fc.integer({ min: 1, max: 65_535 })))
    .map(([labels, port]) => `${labels.join('.')}${port === null ? '' : `:${port}`}`);
  fc.assert(
    fc.property(host, (text) => {
      const component = hostToComponent(text);
      return componentToHost(component) === text && parseRepositoryName(`${component}/app`) !== undefined;
    }),
  );
});

t.test('both forms of a name stand for the same repositories', async (t) => {
  const names = (name: string, ns?: string) =>
    standsFor(parseRepositoryName(name), new URLSearchParams(ns === undefined ? {} : { ns }));
  t.same(names('team/app', 'hub.test:5000'), ['hub.test_5000/team/app', 'team/app']);
  t.same(names('hub.test_5000/team/app'), ['hub.test_5000/team/app', 'team/app']);
  t.same(names('team/app', 'hub.test'), names('hub.test/team/app'));
  t.same(names('team_1/app'), ['team_1/app']);
});
