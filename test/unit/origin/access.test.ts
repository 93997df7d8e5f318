/** The parts of access that need no listener: rules, user files, keys, passkeys, the limit of failures. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { ConfigError, resolveOptions } from '#config';
import { originConfig, originOptions } from '#origin/options';
import { createLogger } from '#telemetry';
import { hashOfNobody, parseHtpasswd } from '../../../origin/access/htpasswd.ts';
import { LONGEST_LIFE_MS, openKeys, ROTATE_AFTER_MS } from '../../../origin/access/keys.ts';
import { createLoginLimiter, LOGIN_LIMITS } from '../../../origin/access/limiter.ts';
import { signPasskey, verifyPasskey } from '../../../origin/access/passkey.ts';
import { createPolicy } from '../../../origin/access/rules.ts';

const log = createLogger({ program: 'test', level: 'silent' });
const HASH = `$2y$05$${'a'.repeat(53)}`;

function configured(flags: Readonly<Record<string, readonly string[]>>) {
  return originConfig(resolveOptions(originOptions, { flags }).values).access;
}

function problemsOf(flags: Readonly<Record<string, readonly string[]>>): readonly string[] {
  try {
    configured(flags);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error('nothing was refused');
}

t.test('rules', async (t) => {
  const access = configured({
    'access-htpasswd': ['/users'],
    'access-rules': [
      'subject=anonymous repositories=open/** actions=pull',
      'subject=authenticated repositories=shared/*,a.b/c actions=pull',
      'subject=user:ann,group:devs repositories=team-x/** actions=push',
      'subject=group:admins actions=*',
      'subject=user:tom repositories=team-y/** actions=*',
    ],
    'access-groups': ['group=devs users=dan,eve', 'group=admins users=eve'],
  });
  const policy = createPolicy(access?.rules ?? [], access?.groups ?? []);
  for (const [subject, action, name, expected] of [
    [undefined, 'pull', 'open/a/b', true],
    [undefined, 'pull', 'open', false],
    [undefined, 'pull', 'xopen/a', false],
    [undefined, 'push', 'open/a', false],
    ['any', 'pull', 'open/a', true],
    ['any', 'pull', 'shared/a', true],
    ['any', 'pull', 'shared/a/b', false],
    [undefined, 'pull', 'shared/a', false],
    ['any', 'pull', 'a.b/c', true],
    ['any', 'pull', 'axb/c', false],
    ['ann', 'push', 'team-x/a', true],
    ['ann', 'pull', 'team-x/a', true],
    ['ann', 'delete', 'team-x/a', false],
    ['dan', 'push', 'team-x/a/b', true],
    ['bob', 'push', 'team-x/a', false],
    ['eve', 'delete', 'what/ever', true],
    ['anonymous', 'delete', 'what/ever', false],
    ['group:admins', 'delete', 'what/ever', false],
    ['tom', 'delete', 'team-y/a', true],
    ['tom', 'delete', 'team-x/a', false],
  ] as const) {
    t.equal(policy.permits(subject, action, name), expected, `${subject} ${action} ${name}`);
  }
  t.equal(policy.permits('eve', 'manage'), true);
  t.equal(policy.permits('dan', 'manage'), false);
  for (const action of ['manage', 'metrics', 'join', 'catalog'] as const) {
    t.equal(policy.permits('tom', action), false, `all on some repositories is no right to ${action}`);
  }
});

t.test('rules that cannot be used', async (t) => {
  const one = (rule: string, more = {}) =>
    problemsOf({ 'access-htpasswd': ['/u'], 'access-rules': [rule], ...more })[0];
  t.match(one('actions=pull'), /subject is missing: expected anonymous/);
  t.match(one('subject=ann actions=pull'), /subject 'ann': expected/);
  t.match(one('subject=anonymous repositories=UP actions=pull'), /repositories 'UP': expected names/);
  t.match(one('subject=anonymous actions=read'), /'read' is unknown: expected some of pull, push/);
  t.match(one('subject=anonymous'), /actions are missing/);
  t.match(
    one('subject=group:dev actions=pull', { 'access-groups': ['group=devs users=a'] }),
    /no group 'dev' in access\.groups; did you mean 'devs'/,
  );
  t.match(problemsOf({ 'access-rules': ['subject=user:a actions=pull'] })[0], /only with --access-htpasswd/);
  t.match(problemsOf({ 'access-groups': ['group=a users=b'] })[0], /need --access-htpasswd/);
  for (const [key, value] of [
    ['token', '31d'],
    ['passkey', '40000d'],
    ['token', '5ms'],
  ]) {
    const given = { 'access-htpasswd': ['/u'], [`access-${key}-lifetime`]: [value ?? ''] };
    t.match(problemsOf(given)[0], new RegExp(`^access.${key}-lifetime: expected 1s to 30d`));
  }
  t.equal(configured({}), undefined);
});

t.test('user files', async (t) => {
  const users = parseHtpasswd(`# people\n\nann:${HASH}\r\nbob:$2b$12$${'b'.repeat(53)}\n`, 'f');
  t.same([...users.keys()], ['ann', 'bob']);
  t.match(hashOfNobody(users), /^\$2b\$12\$\.{53}$/, 'as costly as the costliest');
  for (const [text, problem] of [
    [`ann:${HASH}\nann:${HASH}`, 'f:2: ann is there twice'],
    ['ann:{SHA}xyz', 'f:1: the hash of ann is not bcrypt: make it with htpasswd -B'],
    [`ann:$2y$31$${'a'.repeat(53)}`, 'f:1: the cost of ann is 31: expected 4 to 16'],
    [HASH, 'f:1: expected NAME:HASH, the name of at most 64 characters'],
  ] as const) {
    t.throws(() => parseHtpasswd(text, 'f'), new ConfigError([problem]));
  }
});

t.test('keys are made once, rotate, and keep the old ones while they count', async (t) => {
  const file = path.join(t.testdir(), 'deep/keys.json');
  const start = Date.parse('2026-01-01');
  const [first] = await openKeys(file, log, start);
  t.same(
    (await openKeys(file, log, start + 1000)).map(({ kid }) => kid),
    [first?.kid],
  );
  const later = start + ROTATE_AFTER_MS + 1000;
  const rotated = await openKeys(file, log, later);
  t.equal(rotated.length, 2);
  t.equal(rotated[1]?.kid, first?.kid, 'the newest comes first');
  const last = await openKeys(file, log, later + ROTATE_AFTER_MS + LONGEST_LIFE_MS);
  t.same(last.map(({ kid }) => kid).slice(1), [rotated[0]?.kid], 'the first is gone');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.slice(1));
  await t.rejects(openKeys(file, log, later), /not signing keys of Shoal/);
});

t.test('passkeys: any change to use, blob, claims, time or bytes is noticed', async (t) => {
  const [key] = await openKeys(path.join(t.testdir(), 'keys.json'), log);
  const [other] = await openKeys(path.join(t.testdir(), 'others.json'), log);
  if (!key || !other) throw new Error('no key');
  const claims = { subject: 'ann', repository: 'team/app' };
  let passwords: Readonly<Record<string, string>> = { ann: 'v1' };
  const versionOf = (user: string): string | undefined => passwords[user];
  const text = signPasskey(key, 'announce', 'ab', claims, 2_000_000, versionOf);
  const verify = (given: string, use: 'announce' | 'blob' = 'announce', blob = 'ab', now = 1_000_000) =>
    verifyPasskey([other, key], use, blob, given, now, versionOf);
  t.same(verify(text), claims);
  t.equal(verify(text, 'blob'), undefined);
  t.equal(verify(text, 'announce', 'ac'), undefined);
  t.equal(verify(text, 'announce', 'ab', 2_000_000), undefined);
  t.equal(verifyPasskey([other], 'announce', 'ab', text, 0, versionOf), undefined);
  const nobody = { subject: undefined, repository: 'r' };
  const anonymous = signPasskey(key, 'blob', 'ab', nobody, 2_000_000, versionOf);
  t.same(verify(anonymous, 'blob'), nobody);
  passwords = { ann: 'v2' };
  t.equal(verify(text), undefined, 'the password was changed');
  passwords = {};
  t.equal(verify(text), undefined, 'the user is gone');
  t.same(verify(anonymous, 'blob'), nobody);
  passwords = { ann: 'v1' };
  const bytes = Buffer.from(text, 'base64url');
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const forged = Buffer.from(bytes);
      forged[at] = (forged[at] ?? 0) ^ flip;
      return verify(forged.toString('base64url')) === undefined;
    }),
  );
  fc.assert(fc.property(fc.string(), (given) => verify(given) === undefined));
});

t.test('failed log-ins: by user at an address, by address, by user', async (t) => {
  let now = 0;
  const limiter = createLoginLimiter(LOGIN_LIMITS, () => now);
  const { userAtAddress, address, user } = LOGIN_LIMITS;
  for (let n = 0; n < userAtAddress.burst; n += 1) t.equal(limiter.take('ann', '10.0.0.1'), undefined);
  t.equal(limiter.take('ann', '10.0.0.1'), userAtAddress.everyMs / 1000);
  t.equal(limiter.take('ann', '::ffff:10.0.0.1'), userAtAddress.everyMs / 1000, 'the same address');
  t.equal(limiter.take('bob', '10.0.0.1'), undefined, 'another user');
  t.equal(limiter.take('ann', '10.0.0.2'), undefined, 'from elsewhere');
  now += userAtAddress.everyMs;
  t.equal(limiter.take('ann', '10.0.0.1'), undefined);
  limiter.giveBack('ann', '10.0.0.1');
  t.equal(limiter.take('ann', '10.0.0.1'), undefined, 'a right one does not count');

  let tries = 0;
  while (limiter.take(`user${tries}`, '2001:db8:1:2::1') === undefined) tries += 1;
  t.equal(tries, address.burst);
  t.not(limiter.take('x', '2001:db8:1:2:ffff::9'), undefined, 'the same network of IPv6');
  t.equal(limiter.take('x', '2001:db8:1:3::1'), undefined);
  let addresses = 0;
  while (limiter.take('eve', `10.1.${addresses >> 8}.${addresses & 255}`) === undefined) addresses += 1;
  t.equal(addresses, user.burst);
});
