/** Access as skopeo, podman and containerd meet it: the right and the wrong credentials, and what the log keeps. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { basic, writeHtpasswd } from '../support/access.ts';
import { startContainerd } from '../support/containerd.ts';
import { needs } from '../support/debian.ts';
import { layeredImage } from '../support/layered-image.ts';
import { temporaryFolder } from '../support/origin.ts';
import { startProgram } from '../support/shoal.ts';

const exec = promisify(execFile);
const PASSWORD = 'never-in-a-log-77';
t.setTimeout(240_000);

t.test('skopeo login: right, wrong; the log keeps no credential', async (t) => {
  await needs(t, ['skopeo']);
  const folder = await temporaryFolder(t);
  await writeHtpasswd(path.join(folder, 'htpasswd'), { ann: PASSWORD });
  const origin = await startProgram(t, 'origin', [
    ...['--access-htpasswd', path.join(folder, 'htpasswd'), '--log-level', 'trace'],
    ...['--access-rules', 'subject=user:ann repositories=team/** actions=push'],
  ]);
  const host = new URL(origin.url).host;
  const login = (password: string) =>
    exec('skopeo', ['login', '--tls-verify=false', '-u', 'ann', '-p', password, host], {
      env: { ...process.env, REGISTRY_AUTH_FILE: path.join(folder, 'auth.json') },
      timeout: 60_000,
    });
  await t.rejects(login('wrong-password-55'), /invalid username\/password/);
  t.match((await login(PASSWORD)).stdout, /Login Succeeded/);
  t.match(origin.log(), /log-in refused/);
  const basic = Buffer.from(`ann:${PASSWORD}`).toString('base64');
  for (const secret of [PASSWORD, 'wrong-password-55', basic, 'eyJ'])
    t.notOk(origin.log().includes(secret), secret);
});

/** `ann` may push and delete below team/, `bob` only pull there. */
async function guardedOrigin(t: Test): Promise<{ host: string; log: () => string }> {
  const folder = await temporaryFolder(t);
  await writeHtpasswd(path.join(folder, 'htpasswd'), { ann: PASSWORD, bob: PASSWORD });
  const origin = await startProgram(t, 'origin', [
    ...['--access-htpasswd', path.join(folder, 'htpasswd'), '--log-level', 'debug'],
    ...['--access-rules', 'subject=user:ann repositories=team/** actions=push,delete'],
    ...['--access-rules', 'subject=user:bob repositories=team/** actions=pull'],
  ]);
  return { host: new URL(origin.url).host, log: origin.log };
}

async function run(file: string, ...args: string[]): Promise<string> {
  const { stdout } = await exec(file, args, { maxBuffer: 16 << 20, timeout: 120_000 });
  return stdout;
}

const [ANN, BOB] = [`ann:${PASSWORD}`, `bob:${PASSWORD}`];
const REFUSED = /unauthorized|authentication required|denied|may not|forbidden/i;

t.test(
  'podman, buildah and skopeo with --creds: push, pull and delete as far as the rights go',
  async (t) => {
    await needs(t, ['podman', 'buildah', 'skopeo']);
    const { host, log } = await guardedOrigin(t);
    const image = await layeredImage(t);
    const work = await temporaryFolder(t);
    const storage = ['--root', `${work}/root`, '--runroot', `${work}/run`, '--storage-driver', 'vfs'];
    const plain = '--tls-verify=false';
    const podman = (...args: string[]): Promise<string> => run('podman', ...storage, ...args);
    const buildah = (...args: string[]): Promise<string> => run('buildah', ...storage, ...args);

    const copy = ['copy', '--dest-tls-verify=false', image.reference, `docker://${host}/team/app:v1`];
    await t.rejects(run('skopeo', ...copy), REFUSED);
    await t.rejects(run('skopeo', ...copy, '--dest-creds', BOB), REFUSED);
    await run('skopeo', ...copy, '--dest-creds', ANN);

    await t.rejects(podman('pull', '-q', plain, `${host}/team/app:v1`), REFUSED);
    await t.rejects(podman('pull', '-q', plain, '--creds', 'bob:wrong', `${host}/team/app:v1`));
    const id = (await podman('pull', '-q', plain, '--creds', BOB, `${host}/team/app:v1`)).trim();
    await t.rejects(podman('push', plain, '--creds', BOB, id, `${host}/team/pod:v1`), REFUSED);
    await t.rejects(podman('push', plain, '--creds', ANN, id, `${host}/elsewhere/pod:v1`), REFUSED);
    await podman('push', plain, '--creds', ANN, id, `${host}/team/pod:v1`);

    await t.rejects(buildah('push', plain, '--creds', BOB, id, `docker://${host}/team/built:v1`), REFUSED);
    await buildah('push', plain, '--creds', ANN, id, `docker://${host}/team/built:v1`);
    await buildah('rmi', '-f', id);
    const built = `docker://${host}/team/built:v1`;
    t.equal((await buildah('pull', '-q', plain, '--creds', BOB, built)).trim(), id);

    await t.rejects(run('skopeo', 'delete', plain, '--creds', BOB, built), REFUSED);
    await run('skopeo', 'delete', plain, '--creds', ANN, built);
    await t.rejects(run('skopeo', 'inspect', plain, '--creds', BOB, built), /manifest unknown/);
    t.notOk(log().includes(PASSWORD));
  },
);

t.test('ctr with --user: pull and push', async (t) => {
  await needs(t, ['containerd', 'skopeo']);
  const { host } = await guardedOrigin(t);
  const image = await layeredImage(t);
  const target = ['copy', '--dest-tls-verify=false', '--dest-creds', ANN];
  await run('skopeo', ...target, image.reference, `docker://${host}/team/app:v1`);
  const { ctr } = await startContainerd(t);
  const pull = (...user: string[]): Promise<string> =>
    ctr('images', 'pull', '--plain-http', ...user, `${host}/team/app:v1`);
  await t.rejects(pull(), /401|403|authorization failed|insufficient_scope/i);
  await t.rejects(pull('--user', 'bob:wrong'), /401|403|authorization failed/i);
  await pull('--user', BOB);
  await ctr('images', 'tag', `${host}/team/app:v1`, `${host}/team/nerd:v1`);
  const push = (user: string): Promise<string> =>
    ctr('images', 'push', '--plain-http', '--user', user, `${host}/team/nerd:v1`);
  await t.rejects(push(BOB), /401|403|denied|forbidden/i);
  await push(ANN);
  const inspect = ['inspect', '--tls-verify=false', '--creds', BOB, `docker://${host}/team/nerd:v1`];
  t.match(JSON.parse(await run('skopeo', ...inspect)), { Digest: image.manifest });
});

t.test('SIGHUP: new users and rules count at once, a broken file changes nothing', async (t) => {
  const folder = await temporaryFolder(t);
  const [config, htpasswd] = [path.join(folder, 'origin.yaml'), path.join(folder, 'htpasswd')];
  const configure = (...rules: readonly object[]): Promise<void> =>
    writeFile(config, JSON.stringify({ access: { htpasswd, rules } }));
  await writeHtpasswd(htpasswd, { ann: PASSWORD });
  await configure({ subject: 'user:ann', repositories: 'team/**', actions: 'pull' });
  const origin = await startProgram(t, 'origin', ['--config', config]);
  const reload = async (said: RegExp): Promise<void> => {
    const before = origin.log().length;
    process.kill(origin.pid, 'SIGHUP');
    while (!said.test(origin.log().slice(before))) await delay(20);
  };
  const tags = async (user: string): Promise<number> =>
    (await fetch(`${origin.url}/v2/team/app/tags/list`, { headers: basic(user, PASSWORD) })).status;
  // The repository is not there: who may look hears 404.
  t.same([await tags('ann'), await tags('bob')], [404, 401]);

  await writeHtpasswd(htpasswd, { ann: PASSWORD, bob: PASSWORD });
  await reload(/"changed":\[\].*configuration read again/);
  t.same([await tags('ann'), await tags('bob')], [404, 403], 'bob is known, and has no right yet');

  await configure({ subject: 'user:bob', repositories: 'team/**', actions: 'pull' });
  await reload(/"changed":\["access\.rules"\],"needRestart":\[\].*configuration read again/);
  t.same([await tags('ann'), await tags('bob')], [403, 404]);

  await writeFile(htpasswd, 'bob:plain-text\n');
  await reload(/cannot be used; the running one is kept/);
  await configure({ subject: 'user:bob', actions: 'plul' });
  await reload(/plul.*cannot be used; the running one is kept/);
  t.same([await tags('ann'), await tags('bob')], [403, 404], 'as before');

  await configure({ subject: 'authenticated', actions: 'pull' });
  await writeHtpasswd(htpasswd, { ann: PASSWORD });
  await reload(/configuration read again/);
  t.same([await tags('ann'), await tags('bob')], [404, 401], 'bob is gone');
  t.notOk(origin.log().includes(PASSWORD));
});
