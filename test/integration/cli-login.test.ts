/** The log-in of commands at an origin with access control: where it is from, what a refusal says, and no secret anywhere. */
import { readdirSync, statSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { accessOf, basic } from '../support/access.ts';
import { agentHere } from '../support/in-process.ts';
import { imageOf, MANIFEST, type TestOrigin, temporaryFolder, testOrigin } from '../support/origin.ts';
import { runShoal } from '../support/shoal.ts';

// Each command is a process.
t.setTimeout(180_000);

const ANN = ['ann', 'correct horse'] as const;
const ROOT = ['root', 'toor-is-secret'] as const;
const RULES = ['subject=user:ann repositories=team/** actions=pull', 'subject=user:root actions=*'];

/** An origin with one private image, and a home without log-ins. */
async function setUp(t: Test) {
  const folder = await temporaryFolder(t);
  const { access } = await accessOf(folder, Object.fromEntries([ANN, ROOT]), RULES);
  const real = await testOrigin(t, { access });
  const origin: TestOrigin = {
    ...real,
    call: (method, where, options) =>
      real.call(method, where, { ...options, headers: { ...options?.headers, ...basic(...ROOT) } }),
  };
  const manifest = await imageOf(origin, 'team/app', [Buffer.alloc(300_000, 7)]);
  const put = { headers: { 'content-type': MANIFEST }, body: manifest };
  t.equal((await origin.call('PUT', '/v2/team/app/manifests/v1', put)).status, 201);
  const home = path.join(folder, 'home');
  await mkdir(home);
  const nowhere = {
    HOME: home,
    XDG_RUNTIME_DIR: home,
    XDG_CONFIG_HOME: home,
    DOCKER_CONFIG: home,
    REGISTRY_AUTH_FILE: undefined,
  };
  const shoal = async (
    args: readonly string[],
    user?: readonly [string, string],
    env: Readonly<Record<string, string>> = {},
  ) => {
    const run = await runShoal([...args, ...(user ? ['--username', user[0], '--password-stdin'] : [])], {
      env: { ...nowhere, ...env },
      ...(user && { input: `${user[1]}\n` }),
    });
    for (const secret of [ANN[1], ROOT[1], user?.[1] || ANN[1]]) {
      t.notOk(`${run.stdout}${run.stderr}`.includes(secret), `${args[0]} keeps the password for itself`);
    }
    return run;
  };
  return { url: real.url, host: new URL(real.url).host, folder, shoal };
}

function authFile(host: string, [user, password]: readonly [string, string]): string {
  return JSON.stringify({
    auths: { [host]: { auth: Buffer.from(`${user}:${password}`).toString('base64') } },
  });
}

t.test(
  'pull logs in from the standard input, from the files of podman and docker, or from a named one',
  async (t) => {
    const { url, host, folder, shoal } = await setUp(t);
    const pull = ['pull', 'team/app:v1', '--agent', url];
    const file = path.join(folder, 'auth.json');
    const docker = path.join(folder, 'docker');
    await mkdir(docker);
    for (const each of [file, path.join(docker, 'config.json')]) await writeFile(each, authFile(host, ANN));
    const layout = path.join(folder, 'layout');
    const runs = await Promise.all([
      shoal([...pull, '--oci-layout', layout], ANN),
      shoal(pull, undefined, { REGISTRY_AUTH_FILE: file }),
      shoal(pull, undefined, { DOCKER_CONFIG: docker }),
      shoal([...pull, '--auth-file', file]),
    ]);
    for (const { code, stderr, stdout } of runs)
      t.match([code, stderr, stdout], [0, '', /all digests right/]);
    t.equal((await readdir(path.join(layout, 'blobs/sha256'))).length, 3);
  },
);

t.test('a refusal says what to do', async (t) => {
  const { url, host, folder, shoal } = await setUp(t);
  const file = path.join(folder, 'auth.json');
  await writeFile(file, authFile(host, [ANN[0], 'old-password']));
  const pull = ['pull', 'team/app:v1', '--agent', url];
  const runs = await Promise.all([
    shoal(pull),
    shoal(pull, [ANN[0], 'wrong-password']),
    shoal([...pull, '--auth-file', file]),
    shoal(['pull', 'other/app:v1', '--agent', url], ANN),
    shoal(['origin', 'gc', '--url', url], ANN),
    shoal(['status', '--url', url]),
  ]);
  t.match(
    runs.map(({ code, stdout, stderr }) => [code, stderr || stdout]),
    [
      [1, new RegExp(`answered 401.*${host} wants a log-in and none is known: podman login ${host}`)],
      [1, new RegExp(`answered 401.*${host} did not take the user name and password from --username ann`)],
      [1, new RegExp(`answered 401.*did not take the user name and password from ${file}`)],
      [1, /answered 403, you may not pull other\/app; 'ann' has no right to it: the access\.rules of/],
      [1, /answered 403: this needs the right 'manage'; 'ann' has no right to it/],
      [1, /answered 401: .* wants a log-in and none is known/],
    ],
  );
  for (let n = 0; n < 10; n += 1) {
    await fetch(`${url}/v2/auth`, { headers: basic(ANN[0], `wrong ${n}`) });
  }
  const limited = await shoal(pull, [ANN[0], 'wrong-password']);
  t.match([limited.code, limited.stderr], [1, /too many failed log-ins at .*: wait a minute/]);
});

t.test('every command that asks an origin or an agent logs in', async (t) => {
  const { url, folder, shoal } = await setUp(t);
  const agent = await agentHere(t, [url], {
    credentialsFor: () => ({ username: ANN[0], password: ANN[1] }),
  });
  const torrents = path.join(folder, 'torrents');
  const [gc, scrub, status, torrent, agents] = await Promise.all([
    shoal(['origin', 'gc', '--url', url, '--dry-run'], ROOT),
    shoal(['origin', 'scrub', '--url', url], ROOT),
    shoal(['status', '--url', url], ROOT),
    shoal(['torrent', 'team/app:v1', '--origin', url, '--output', `${torrents}/`], ANN),
    shoal(['pull', 'team/app:v1', '--agent', agent.url], ANN),
  ]);
  t.match([gc.code, gc.stdout], [0, /would go/]);
  t.match([scrub.code, scrub.stdout], [0, /0 problems/]);
  t.match([status.code, status.stdout], [0, /blobs/]);
  t.match([torrent.code, torrent.stdout], [0, /infohash/]);
  const [name = ''] = readdirSync(torrents);
  t.equal(statSync(path.join(torrents, name)).mode & 0o777, 0o600, 'its URLs are signed for ann');
  t.match([agents.code, agents.stderr], [0, '']);
  const [explained, asked] = await Promise.all([
    shoal(['explain', 'team/app:v1', '--agent', agent.url], ANN),
    shoal(['explain', 'team/app:v1', '--agent', url], ANN),
  ]);
  t.match([explained.code, explained.stdout], [0, /slowest/]);
  // An origin in the agent's place asks for a log-in; it tells its manifests, and nothing of fetches.
  t.match([asked.code, asked.stderr], [1, /\/api\/v1\/pulls answered (?:403|404)/]);
});

t.test('mistakes are found before anything is asked, and show no secret', async (t) => {
  const { url, folder, shoal } = await setUp(t);
  const pull = ['pull', 'team/app:v1', '--agent', url];
  const empty = path.join(folder, 'empty');
  await writeFile(empty, `{"auths": "${ANN[1]}"}`);
  const host = new URL(url).host;
  const runs = await Promise.all([
    shoal([...pull, '--username', 'ann']),
    shoal([...pull, '--password-stdin']),
    shoal([...pull, '--username', `ann:${ANN[1]}`, '--password-stdin']),
    shoal(pull, ['ann', '']),
    shoal(pull, ['ann', `${ANN[1]}\nsecond line`]),
    shoal(pull, ['ann', 'x'.repeat(100_000)]),
    shoal([...pull, '--auth-file', empty]),
    shoal([...pull, '--auth-file', path.join(folder, 'none')]),
    shoal([...pull, '--auth-file', empty], ANN),
    shoal([...pull, '--password', 'hunter2-is-long']),
    shoal(['pull', 'team/app:v1', '--agent', `http://ann:${ANN[1]}@${host}`]),
  ]);
  t.match(
    runs.map(({ code, stderr }) => [code, stderr]),
    [
      [2, /--username needs --password-stdin/],
      [2, /--password-stdin needs the user: --username NAME/],
      [2, /--username takes a name without a colon/],
      [2, /the standard input holds no password/],
      [2, /must be one line/],
      [2, /must be one line/],
      [2, /auth\.file: cannot read the credentials in .*it is not the JSON of docker or podman login/],
      [2, /auth\.file: .*there is no such file/],
      [2, /give either --auth-file, or --username/],
      [2, /unknown flag '--password'; did you mean --password-stdin\?/],
      [2, /agent: 'http:\/\/…@.*without a user name in it/],
    ],
  );
});
