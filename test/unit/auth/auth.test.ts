import { writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  formatBasic,
  formatChallenge,
  formatScope,
  parseBasic,
  parseChallenges,
  parseScope,
  userAuthFiles,
  withAuthFiles,
} from '#auth';

t.test('challenges: several in one header, quoted and plain parameters', async (t) => {
  t.same(
    parseChallenges('Basic realm="a, b", Bearer realm="https://x/y?a=\\"b\\"",service=s , scope="p:q:r"'),
    [
      { scheme: 'basic', parameters: { realm: 'a, b' } },
      { scheme: 'bearer', parameters: { realm: 'https://x/y?a="b"', service: 's', scope: 'p:q:r' } },
    ],
  );
  t.same(parseChallenges('Negotiate, Basic'), [
    { scheme: 'negotiate', parameters: {} },
    { scheme: 'basic', parameters: {} },
  ]);
  for (const text of ['', '=', 'realm="x"', '"', 'Bearer realm="unended', ','.repeat(9000)]) {
    t.doesNotThrow(() => parseChallenges(text));
  }
});

t.test('what is formatted is parsed again', async (t) => {
  const printable = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((n) => String.fromCharCode(n)),
  });
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('realm', 'service', 'scope'), printable), (parameters) => {
      const [back] = parseChallenges(formatChallenge('Bearer', parameters));
      return (
        back?.scheme === 'bearer' &&
        JSON.stringify({ ...back.parameters }) === JSON.stringify({ ...parameters })
      );
    }),
  );
  fc.assert(
    fc.property(
      fc.string({ maxLength: 50 }).filter((text) => !/[:\0]/.test(text)),
      fc.string({ maxLength: 100 }).filter((text) => !text.includes('\0')),
      (username, password) => {
        const back = parseBasic(formatBasic(username.toWellFormed(), password.toWellFormed()));
        return back?.username === username.toWellFormed() && back.password === password.toWellFormed();
      },
    ),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      parseChallenges(text);
      parseBasic(text);
      parseScope(text);
      return true;
    }),
  );
  t.pass('held');
});

t.test('scopes', async (t) => {
  t.same(parseScope('repository:host:5000/a/b:pull,push,pull'), {
    type: 'repository',
    name: 'host:5000/a/b',
    actions: ['pull', 'push'],
  });
  t.same(parseScope('repository(plugin):a:*'), { type: 'repository', name: 'a', actions: ['*'] });
  t.equal(
    formatScope({ type: 'repository', name: 'a', actions: ['pull', 'push'] }),
    'repository:a:pull,push',
  );
  for (const text of ['', 'repository', 'repository:a', 'a b:c:d', `repository:${'a'.repeat(600)}:pull`]) {
    t.equal(parseScope(text), undefined, text.slice(0, 20));
  }
});

t.test('files of docker login and podman login', async (t) => {
  const folder = t.testdir();
  const file = path.join(folder, 'auth.json');
  const auth = Buffer.from('ann:pass:word').toString('base64');
  writeFileSync(
    file,
    JSON.stringify({
      auths: {
        'registry.test:5000': { auth },
        'https://index.docker.io/v1/': { username: 'u', password: 'p' },
        'token.test': { auth: Buffer.from('<token>:').toString('base64'), identitytoken: 'refresh' },
        'empty.test': {},
      },
      credsStore: 'desktop',
    }),
  );
  const find = withAuthFiles([path.join(folder, 'none.json'), file], false);
  t.same(find('registry.test:5000'), { username: 'ann', password: 'pass:word' });
  t.same(find('index.docker.io'), { username: 'u', password: 'p' });
  t.same(find('token.test'), { identityToken: 'refresh' });
  t.equal(find('empty.test'), undefined);
  t.equal(find('registry.test'), undefined, 'the port counts');
  writeFileSync(file, '{"auths": {"a": {"auth": 5}}, "x": "s3cret"');
  t.equal(find('a'), undefined);
  t.throws(
    () => withAuthFiles([file], true)('a'),
    /auth\.json: it is not the JSON of docker or podman login$/,
  );
  t.throws(() => withAuthFiles([`${file}x`], true)('a'), /there is no such file/);
  t.same(userAuthFiles({ HOME: '/h', XDG_RUNTIME_DIR: '/r', REGISTRY_AUTH_FILE: '/f' }), [
    '/f',
    '/r/containers/auth.json',
    '/h/.config/containers/auth.json',
    '/h/.docker/config.json',
  ]);
});

t.test('a log-in for the whole host goes before one for a part of it', async (t) => {
  const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
  const folder = t.testdir({
    'auth.json': JSON.stringify({
      auths: {
        'quay.io/team': auth('part:p'),
        'quay.io': auth('whole:w'),
        'other.io/team': auth('only:o'),
        'index.docker.io/team/app': auth('part:p'),
        'https://index.docker.io/v1/': auth('hub:h'),
      },
    }),
  });
  const find = withAuthFiles([path.join(folder, 'auth.json')], true);
  t.match(
    ['quay.io', 'other.io', 'index.docker.io'].map((host) => find(host)),
    [{ username: 'whole' }, { username: 'only' }, { username: 'hub' }],
  );
  t.equal(find('elsewhere.io'), undefined);
});
