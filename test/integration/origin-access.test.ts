/** Access to the registry: the token flow, Basic, rules, and what a refusal says. */
import { randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { importJWK, SignJWT } from 'jose';
import t, { type Test } from 'tap';
import { parseChallenges } from '#auth';
import { sha256DigestOf } from '#oci';
import { parseMetainfo } from '#torrent';
import {
  accessFrom,
  accessOf,
  basic,
  bearer,
  getToken,
  postForm,
  type TokenAnswer,
  writeHtpasswd,
} from '../support/access.ts';
import { agentHere, pull } from '../support/in-process.ts';
import { type Answer, MANIFEST, type TestOrigin, temporaryFolder, testOrigin } from '../support/origin.ts';

// Many origins, each with a log-in or two: more than the default on a busy machine.
t.setTimeout(180_000);

const ANN = ['ann', 'correct horse'] as const;
const BOB = ['bob', 'battery: staple'] as const;
const ROOT = ['root', 'toor'] as const;
const USERS = Object.fromEntries([ANN, BOB, ROOT]);
const RULES = [
  'subject=anonymous repositories=public/** actions=pull',
  'subject=user:ann repositories=team/** actions=push',
  'subject=group:readers repositories=team/*,docker.io/** actions=pull,catalog',
  'subject=user:root actions=*',
];
const GROUPS = { 'access-groups': ['group=readers users=bob'] };

async function guarded(
  t: Test,
  rules: readonly string[] = RULES,
  flags: Readonly<Record<string, readonly string[]>> = GROUPS,
) {
  const folder = await temporaryFolder(t);
  const { access, htpasswd } = await accessOf(folder, USERS, rules, flags);
  const origin = await testOrigin(t, { access });
  return { origin, access, htpasswd };
}

function challengeOf(answer: Answer) {
  const [challenge] = parseChallenges(answer.headers['www-authenticate'] ?? '');
  return challenge && { scheme: challenge.scheme, ...challenge.parameters };
}

async function push(origin: TestOrigin, name: string, bytes = randomBytes(1000)): Promise<string> {
  const digest = sha256DigestOf(bytes);
  const answer = await origin.call('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, {
    body: bytes,
    headers: basic(...ROOT),
  });
  if (answer.status !== 201) throw new Error(`push answered ${answer.status}: ${answer.body}`);
  return digest;
}

t.test('without a configuration everybody may do everything', async (t) => {
  const origin = await testOrigin(t);
  t.equal((await origin.call('GET', '/v2/')).status, 200);
  t.equal((await origin.call('GET', '/v2/', { headers: basic('any', 'body') })).status, 200);
  t.equal((await origin.call('GET', '/metrics')).status, 200);
});

t.test('the challenge of /v2/ leads to a token that opens it', async (t) => {
  const { origin } = await guarded(t);
  const first = await origin.call('GET', '/v2/');
  t.equal(first.status, 401);
  t.equal(first.errorCode(), 'UNAUTHORIZED');
  t.same(challengeOf(first), { scheme: 'bearer', realm: `${origin.url}/v2/auth`, service: 'shoal' });
  const { token, access_token: other, expires_in: seconds, issued_at: issued } = await getToken(origin, ANN);
  t.equal(token, other);
  t.equal(seconds, 300);
  t.ok(Math.abs(Date.parse(issued) - Date.now()) < 60_000);
  t.equal((await origin.call('GET', '/v2/', { headers: bearer(token) })).status, 200);
  t.equal((await origin.call('GET', '/v2/', { headers: basic(...ANN) })).status, 200, 'Basic works too');
  const anonymous = await getToken(origin, undefined);
  t.equal((await origin.call('GET', '/v2/', { headers: bearer(anonymous.token) })).status, 200);
});

t.test('scopes: what was asked for and may be, no more', async (t) => {
  const { origin } = await guarded(t);
  const scopeOf = async (user: Parameters<typeof getToken>[1], ...scopes: string[]): Promise<string> =>
    (await getToken(origin, user, ...scopes)).scope;
  t.equal(await scopeOf(ANN, 'repository:team/app:pull,push'), 'repository:team/app:pull,push');
  t.equal(await scopeOf(ANN, 'repository:team/app:*'), 'repository:team/app:pull,push');
  t.equal(await scopeOf(BOB, 'repository:team/app:pull,push'), 'repository:team/app:pull');
  t.equal(await scopeOf(BOB, 'repository:team/deep/app:pull'), '', '* stays within a part');
  t.equal(await scopeOf(undefined, 'repository:team/app:pull'), '');
  t.equal(await scopeOf(undefined, 'repository:public/a/b:pull,push'), 'repository:public/a/b:pull');
  t.equal(
    await scopeOf(ROOT, 'repository:x:pull', 'repository:y:pull,delete', 'registry:catalog:*'),
    'repository:x:pull repository:y:pull,delete registry:catalog:*',
  );
  t.equal(await scopeOf(ANN, 'registry:catalog:*'), '');
  t.equal(
    await scopeOf(ROOT, 'nonsense', 'repository:', '', 'repository(plugin):p:pull'),
    'repository:p:pull',
  );
  t.equal(
    await scopeOf(ROOT, 'repository:docker.io/library/a:pull'),
    'repository:docker.io/library/a:pull repository:library/a:pull',
    'a pull may be answered from either name',
  );
  t.equal(await scopeOf(BOB, 'repository:docker.io/library/a:pull'), 'repository:docker.io/library/a:pull');
});

t.test('a form (OAuth2): password and refresh token', async (t) => {
  const { origin } = await guarded(t);
  const first = await postForm(origin, {
    grant_type: 'password',
    username: ANN[0],
    password: ANN[1],
    service: 'shoal',
    client_id: 'containerd-client',
    access_type: 'offline',
    scope: 'repository:team/app:pull repository:team/b:push',
  });
  t.equal(first.status, 200);
  const { access_token: token, refresh_token: refresh, scope } = first.json() as TokenAnswer;
  t.equal(scope, 'repository:team/app:pull repository:team/b:push');
  t.equal((await origin.call('GET', '/v2/', { headers: bearer(token) })).status, 200);
  t.equal(
    (await origin.call('GET', '/v2/', { headers: bearer(refresh ?? '') })).status,
    401,
    'a refresh token opens nothing itself',
  );
  const again = await postForm(origin, {
    grant_type: 'refresh_token',
    refresh_token: refresh ?? '',
    scope: 'repository:team/app:pull',
  });
  t.equal((again.json() as TokenAnswer).scope, 'repository:team/app:pull');
  t.equal((await postForm(origin, { grant_type: 'refresh_token', refresh_token: token })).status, 401);
  t.equal((await postForm(origin, { grant_type: 'refresh_token', refresh_token: 'x.y.z' })).status, 401);
  for (const [form, status, error] of [
    [{ grant_type: 'password', username: 'ann', password: 'no' }, 401, 'invalid_grant'],
    [{ grant_type: 'password', username: 'ann' }, 400, 'invalid_request'],
    [{ grant_type: 'magic' }, 400, 'unsupported_grant_type'],
    [{ grant_type: 'password', username: 'ann', password: 'x'.repeat(20_000) }, 400, 'invalid_request'],
  ] as const) {
    const answer = await postForm(origin, form);
    t.match([answer.status, answer.json()], [status, { error }]);
  }
});

t.test('a wrong password, at the token service and with Basic', async (t) => {
  const { origin } = await guarded(t);
  for (const [user, password] of [
    ['ann', 'wrong'],
    ['nobody', 'wrong'],
    ['ann', ''],
    ['', ''],
  ] as const) {
    const token = await origin.call('GET', '/v2/auth?service=shoal', { headers: basic(user, password) });
    t.match([token.status, challengeOf(token)?.scheme, token.errorCode()], [401, 'basic', 'UNAUTHORIZED']);
    const direct = await origin.call('GET', '/v2/', { headers: basic(user, password) });
    t.match([direct.status, challengeOf(direct)?.scheme], [401, 'bearer']);
  }
  for (const authorization of ['Basic', 'Basic !!!', 'Basic YW5u', 'Digest x', 'x'.repeat(9000), 'Bearer']) {
    const answer = await origin.call('GET', '/v2/', { headers: { authorization } });
    t.equal(answer.status, 401, authorization.slice(0, 20));
  }
});

t.test('reading: anonymous, by right, by token; another repository is refused', async (t) => {
  const { origin } = await guarded(t);
  const [open, secret] = [await push(origin, 'public/app'), await push(origin, 'team/app')];
  const blob = (name: string, digest: string, headers = {}) =>
    origin.call('GET', `/v2/${name}/blobs/${digest}`, { headers });
  t.equal((await blob('public/app', open)).status, 200, 'what anonymous may needs no token');
  const { token } = await getToken(origin, BOB, 'repository:team/app:pull');
  t.equal((await blob('team/app', secret, bearer(token))).status, 200);
  t.equal((await blob('public/app', open, bearer(token))).status, 200);
  t.equal((await blob('team/app', secret, basic(...BOB))).status, 200);

  const nobody = await blob('team/app', secret);
  t.equal(nobody.status, 401);
  t.match(challengeOf(nobody), { scheme: 'bearer', scope: 'repository:team/app:pull', error: undefined });
  const other = await getToken(origin, BOB, 'repository:team/other:pull');
  const wrong = await blob('team/app', secret, bearer(other.token));
  t.equal(wrong.status, 401, 'the user has the right, the token does not');
  t.match(challengeOf(wrong), { scope: 'repository:team/app:pull', error: 'insufficient_scope' });
  await push(origin, 'private/app');
  const denied = await blob('private/app', secret, bearer(token));
  t.match(
    [denied.status, denied.errorCode(), denied.headers['www-authenticate']],
    [403, 'DENIED', undefined],
  );
  const unknown = await blob('private/none', secret, bearer(token));
  t.equal(unknown.status, 403, 'the same for a repository that is not there');
  for (const where of [
    'tags/list',
    'manifests/v1',
    `referrers/${secret}`,
    `_shoal/torrents/${secret}`,
    '_oci/ext/discover',
  ]) {
    t.equal((await origin.call('GET', `/v2/team/app/${where}`)).status, 401, where);
    t.equal(
      (await origin.call('HEAD', `/v2/private/app/${where}`, { headers: bearer(token) })).status,
      403,
      where,
    );
  }
});

t.test('a name that stands for another is read only as far as the rights go', async (t) => {
  const { origin } = await guarded(t);
  const digest = await push(origin, 'library/app');
  const read = (query: string, name: string, user: readonly [string, string]) =>
    origin.call('GET', `/v2/${name}/blobs/${digest}${query}`, { headers: basic(...user) });
  t.equal((await read('', 'docker.io/library/app', ROOT)).status, 200);
  t.equal((await read('?ns=docker.io', 'library/app', ROOT)).status, 200);
  t.equal((await read('', 'docker.io/library/app', BOB)).status, 404, 'library/app is not for bob');
  t.equal((await read('?ns=docker.io', 'library/app', BOB)).status, 404);
  t.equal((await read('', 'library/app', BOB)).status, 403);
  const asked = await origin.call('GET', `/v2/library/app/blobs/${digest}?ns=docker.io`);
  t.match(challengeOf(asked), { scope: 'repository:docker.io/library/app:pull' });
});

t.test('writing and deleting', async (t) => {
  const { origin } = await guarded(t);
  const bytes = randomBytes(100);
  const digest = sha256DigestOf(bytes);
  const upload = (name: string, headers = {}) =>
    origin.call('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes, headers });
  const asked = await upload('team/app');
  t.equal(asked.status, 401);
  t.match(challengeOf(asked), { scope: 'repository:team/app:pull,push' });
  t.equal((await upload('public/app')).status, 401);
  t.equal((await upload('team/app', basic(...BOB))).status, 403);
  const { token } = await getToken(origin, ANN, 'repository:team/app:pull,push');
  t.equal((await upload('team/app', bearer(token))).status, 201);
  t.equal(
    (await origin.call('HEAD', `/v2/team/app/blobs/${digest}`, { headers: bearer(token) })).status,
    200,
  );
  const manifest = { body: '{}', headers: { 'content-type': MANIFEST } };
  t.equal((await origin.call('PUT', '/v2/team/app/manifests/v1', manifest)).status, 401);
  const remove = (headers: Record<string, string>) =>
    origin.call('DELETE', `/v2/team/app/blobs/${digest}`, { headers });
  t.equal((await remove(bearer(token))).status, 403, 'push is not delete');
  const root = await getToken(origin, ROOT, 'repository:team/app:pull,push');
  const wrong = await remove(bearer(root.token));
  t.match([wrong.status, challengeOf(wrong)?.['scope' as never]], [401, 'repository:team/app:delete']);
  t.equal((await remove(bearer((await getToken(origin, ROOT, 'repository:team/app:*')).token))).status, 202);
});

t.test('a blob is mounted only from where one may pull', async (t) => {
  const { origin } = await guarded(t);
  const [secret, shared] = [await push(origin, 'private/app'), await push(origin, 'team/lib')];
  const mount = (digest: string, from: string) =>
    origin.call('POST', `/v2/team/app/blobs/uploads/?mount=${digest}&from=${from}`, {
      headers: basic(...ANN),
    });
  t.equal((await mount(secret, 'private/app')).status, 202, 'as if it were not there');
  t.equal((await mount(shared, 'team/lib')).status, 201);
  const asked = await origin.call('POST', `/v2/team/app/blobs/uploads/?mount=${shared}&from=team/lib`);
  t.match(challengeOf(asked), { scope: 'repository:team/app:pull,push repository:team/lib:pull' });
});

t.test('tokens that are expired, forged, of another key or of a changed user', async (t) => {
  const { origin, access, htpasswd } = await guarded(t);
  const file = path.join(origin.data, 'access-keys.json');
  t.equal((await stat(file)).mode & 0o777, 0o600);
  const { keys } = JSON.parse(await readFile(file, 'utf8')) as { keys: { kid: string; key: object }[] };
  const { token } = await getToken(origin, BOB, 'repository:team/app:pull');
  const [, body = ''] = token.split('.');
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>;
  t.match(claims, {
    iss: 'shoal',
    aud: 'shoal',
    sub: 'bob',
    access: [{ type: 'repository', name: 'team/app', actions: ['pull'] }],
  });
  t.notMatch(JSON.stringify(claims), /battery/);
  const sign = async (changes: object, kid = keys[0]?.kid ?? '', key: object = keys[0]?.key ?? {}) =>
    new SignJWT({ ...claims, ...changes })
      .setProtectedHeader({ alg: 'EdDSA', kid })
      .sign(await importJWK({ ...key, alg: 'EdDSA' } as never));
  const statusOf = async (text: string) => {
    const answer = await origin.call('GET', '/v2/team/app/tags/list', { headers: bearer(text) });
    return [answer.status, challengeOf(answer)?.['error' as never]];
  };
  await push(origin, 'team/app');
  t.same(await statusOf(token), [200, undefined]);
  t.same(await statusOf(await sign({})), [200, undefined], 'the signature of the test is right');
  const past = Math.floor(Date.now() / 1000) - 60;
  const other = (await guarded(t)).origin;
  for (const [what, text] of [
    ['expired', await sign({ exp: past, iat: past - 300, nbf: past - 300 })],
    ['not yet', await sign({ nbf: past + 600 })],
    ['audience', await sign({ aud: 'other' })],
    ['issuer', await sign({ iss: 'other' })],
    ['key', await sign({}, 'unknown')],
    ['other origin', (await getToken(other, BOB, 'repository:team/app:pull')).token],
    ['unsigned', `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`],
    ['cut', token.slice(0, -4)],
    ['nonsense', 'a.b.c'],
  ] as const) {
    t.same(await statusOf(text), [401, 'invalid_token'], what);
  }
  await writeHtpasswd(htpasswd, { ...USERS, bob: 'new password' });
  await origin.origin.reload({ access });
  t.same(await statusOf(token), [401, 'invalid_token'], 'the password was changed');
  const fresh = (await getToken(origin, ['bob', 'new password'], 'repository:team/app:pull')).token;
  t.same(await statusOf(fresh), [200, undefined]);
  await writeHtpasswd(htpasswd, { ann: ANN[1] });
  await origin.origin.reload({ access });
  t.same(await statusOf(fresh), [401, 'invalid_token'], 'the user is gone');
});

t.test('a reload applies rules at once, and keeps what runs when it cannot be used', async (t) => {
  const { origin, access, htpasswd } = await guarded(t);
  await push(origin, 'team/app');
  const { token } = await getToken(origin, BOB, 'repository:team/app:pull');
  const list = async () =>
    (await origin.call('GET', '/v2/team/app/tags/list', { headers: bearer(token) })).status;
  t.equal(await list(), 200);
  const config = { access };
  const before = await readFile(htpasswd, 'utf8');
  await writeFile(htpasswd, 'bob:plaintext\n');
  await t.rejects(origin.origin.reload(config), /htpasswd:1: the hash of bob is not bcrypt/);
  await writeFile(htpasswd, before);
  t.equal(await list(), 200);
  await t.rejects(origin.origin.reload({ access: undefined }), /needs a restart/);
  const stricter = accessFrom(htpasswd, ['subject=user:root actions=*']);
  await origin.origin.reload({ access: stricter });
  t.equal(await list(), 403, 'a token gives no more than the rules do now');
});

t.test('challenge basic: no token service is named, tokens are accepted', async (t) => {
  const { origin } = await guarded(t, RULES, { ...GROUPS, 'access-challenge': ['basic'] });
  t.same(challengeOf(await origin.call('GET', '/v2/')), { scheme: 'basic', realm: 'shoal' });
  t.equal((await origin.call('GET', '/v2/', { headers: basic(...ANN) })).status, 200);
  const { token } = await getToken(origin, ANN);
  t.equal((await origin.call('GET', '/v2/', { headers: bearer(token) })).status, 200);
});

t.test('users without rules may do everything, others nothing', async (t) => {
  const { origin } = await guarded(t, [], {});
  const digest = await push(origin, 'a');
  t.equal((await origin.call('GET', `/v2/a/blobs/${digest}`)).status, 401);
  t.equal((await origin.call('GET', `/v2/a/blobs/${digest}`, { headers: basic(...BOB) })).status, 200);
  t.equal((await origin.call('GET', '/metrics', { headers: basic(...BOB) })).status, 200);
});

t.test('keys outlast a restart, and origins that share them accept each other', async (t) => {
  const folder = await temporaryFolder(t);
  const { access } = await accessOf(folder, USERS, [], {
    'access-key-file': [path.join(folder, 'keys.json')],
  });
  const one = await testOrigin(t, { access });
  const two = await testOrigin(t, { access });
  const { token } = await getToken(one, ANN);
  t.equal((await two.call('GET', '/v2/', { headers: bearer(token) })).status, 200);
  const again = await one.restart();
  t.equal((await again.call('GET', '/v2/', { headers: bearer(token) })).status, 200);
});

t.test('the torrent of a private blob, its web seed and its announce are for who may pull', async (t) => {
  const { origin } = await guarded(t);
  const [digest, other] = [await push(origin, 'team/app'), await push(origin, 'team/app')];
  const fetch = (blob: string, headers = {}) =>
    origin.call('GET', `/v2/team/app/_shoal/torrents/${blob}`, { headers });
  t.equal((await fetch(digest)).status, 401);
  const { infoHash, sources } = parseMetainfo((await fetch(digest, basic(...BOB))).body);
  const { sources: others } = parseMetainfo((await fetch(other, basic(...BOB))).body);
  const [announce = '', elsewhere = ''] = [sources.announce[0], others.announce[0]];
  const hash = infoHash.replace(/../g, '%$&');
  const ask = async (url: string): Promise<string> =>
    (
      await origin.call(
        'GET',
        `${url}${url.includes('?') ? '&' : '?'}info_hash=${hash}&peer_id=${hash}&port=1234&left=1`,
      )
    ).body.toString('latin1');
  t.match(await ask(announce), /8:interval/);
  t.match(await ask(announce.replace('/announce', '/scrape')), /5:files/);
  for (const url of [`${origin.url}/announce`, elsewhere, `${announce}x`, `${origin.url}/scrape`]) {
    t.match(await ask(url), /14:failure reason.*passkey/s);
  }
  const [seed = ''] = sources.webSeeds;
  t.equal((await origin.call('GET', seed)).status, 200);
  t.equal((await origin.call('GET', seed.replace(digest, other))).status, 401);
  t.equal((await origin.call('DELETE', seed)).status, 401);
});

t.test('what is beside /v2 asks for its rights', async (t) => {
  const { origin } = await guarded(t);
  for (const [where, action] of [
    ['/metrics', 'metrics'],
    ['/api/v1/status', 'manage'],
    ['/api/v1/agents', 'manage'],
  ] as const) {
    t.equal((await origin.call('GET', where)).status, 401, action);
    t.equal((await origin.call('GET', where, { headers: basic(...BOB) })).status, 403, action);
    t.equal((await origin.call('GET', where, { headers: basic(...ROOT) })).status, 200, action);
  }
  for (const where of ['/healthz', '/readyz', '/api/v1/openapi.json']) {
    t.equal((await origin.call('GET', where)).status, 200, where);
  }
});

t.test('the OpenAPI document names the right that each operation wants', async (t) => {
  const { origin } = await guarded(t);
  const { paths, components } = (await origin.call('GET', '/api/v1/openapi.json')).json() as {
    paths: Record<string, Record<string, { security?: Record<string, string[]>[] }>>;
    components: { securitySchemes: object };
  };
  t.match(components.securitySchemes, { basic: { type: 'http', scheme: 'basic' } });
  const seen = new Set<string>();
  for (const [where, operations] of Object.entries(paths)) {
    const url = where.replace(/\{\w+\}/g, '0'.repeat(40));
    for (const [verb, { security = [] }] of Object.entries(operations)) {
      const method = verb.toUpperCase() as 'GET';
      const right = security.find((each) => each['basic'])?.['basic']?.[0];
      seen.add(right ?? 'none');
      const status = (await origin.call(method, url)).status;
      t.equal(status === 401, right !== undefined, `${method} ${where} without a log-in: ${status}`);
      const answer = await origin.call(method, url, { headers: basic(...BOB) });
      if (right) t.match(answer.json(), { status: 403, detail: `this needs the right '${right}'` }, where);
    }
  }
  t.same([...seen].sort(), ['join', 'manage', 'none']);
});

t.test('too many failed log-ins: 429 at the token service, never on /v2', async (t) => {
  const { origin } = await guarded(t);
  t.equal((await origin.call('GET', '/v2/', { headers: basic(...ANN) })).status, 200);
  for (let n = 0; n < 10; n += 1) await origin.call('GET', '/v2/', { headers: basic('ann', `wrong ${n}`) });
  const limited = await origin.call('GET', '/v2/auth', { headers: basic('ann', 'again') });
  t.match([limited.status, Number(limited.headers['retry-after']) > 0], [429, true]);
  t.equal((await origin.call('GET', '/v2/', { headers: basic('ann', 'again') })).status, 401);
  t.equal(
    (await origin.call('GET', '/v2/', { headers: basic(...ANN) })).status,
    200,
    'who is logged in stays so',
  );
});

t.test('an agent with credentials fetches a private image; one without does not', async (t) => {
  const { origin } = await guarded(t);
  const digest = await push(origin, 'team/app', randomBytes(600_000));
  const knows = await agentHere(t, [origin.url], {
    credentialsFor: () => ({ username: ROOT[0], password: ROOT[1] }),
    rights: { mode: 'agent' },
  });
  const stranger = await agentHere(t, [origin.url]);
  t.equal((await pull(`${knows.url}/v2/team/app/blobs/${digest}`)).sha256, digest.slice('sha256:'.length));
  t.not((await pull(`${stranger.url}/v2/team/app/blobs/${digest}`)).status, 200);
});
