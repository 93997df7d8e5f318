/**
 * A private image in an agent's cache, and the real clients: without a log-in they are refused, with one
 * they get it from the cache; the programs log no credential.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { formatBasic } from '#auth';
import { writeHtpasswd } from '../support/access.ts';
import { startContainerd } from '../support/containerd.ts';
import { needs } from '../support/debian.ts';
import { temporaryFolder } from '../support/origin.ts';
import { runShoal, startProgram } from '../support/shoal.ts';
import { smallImage } from '../support/small-image.ts';

const exec = promisify(execFile);
t.setTimeout(240_000);

const PASSWORDS = { ann: 'ann-secret-1', ci: 'ci-secret-2', nodes: 'nodes-secret-3', bob: 'bob-secret-4' };
const SIZE = 3_000_000;

t.test('containerd, podman, skopeo and shoal pull', async (t) => {
  await needs(t, ['containerd', 'podman', 'skopeo']);
  const folder = await temporaryFolder(t);
  await writeHtpasswd(path.join(folder, 'htpasswd'), PASSWORDS);
  await writeFile(path.join(folder, 'password'), `${PASSWORDS.nodes}\n`);
  const origin = await startProgram(t, 'origin', [
    ...['--log-level', 'trace', '--access-htpasswd', path.join(folder, 'htpasswd')],
    ...['--access-rules', 'subject=user:ann repositories=registry.test/team/** actions=pull'],
    ...['--access-rules', 'subject=user:ci repositories=** actions=push'],
    ...['--access-rules', 'subject=user:nodes repositories=** actions=pull,join'],
  ]);
  const agent = await startProgram(t, 'agent', [
    ...['--origin', origin.url, '--log-level', 'trace'],
    ...['--auth-username', 'nodes', '--auth-password-file', path.join(folder, 'password')],
  ]);
  const mirror = new URL(agent.url).host;
  const image = await smallImage(t, folder, SIZE);
  const target = `docker://${new URL(origin.url).host}/registry.test/team/app:v1`;
  const as = (user: keyof typeof PASSWORDS): string => `${user}:${PASSWORDS[user]}`;
  await exec('skopeo', ['copy', '--dest-tls-verify=false', '--dest-creds', as('ci'), image, target]);

  const fromCache = (): Promise<number> => agent.metric('shoal_mirror_bytes_total', { source: 'cache' });
  const sent = (): Promise<number> => agent.metric('shoal_mirror_bytes_total');
  const reference = 'registry.test/team/app:v1';

  // Fills the cache, by a user who may.
  const first = await startContainerd(t);
  await first.pull(reference, agent.url, { flags: ['--user', as('ann')] });
  t.ok((await sent()) >= SIZE, 'containerd logged in with the challenge of the mirror');
  /** All of the image, some of it from the cache: its config was there before containerd asked. */
  const afterFirst = await sent();
  const before = await fromCache();

  const second = await startContainerd(t);
  await t.rejects(second.pull(reference, agent.url), 'containerd without a log-in');
  await t.rejects(
    second.pull(reference, agent.url, { flags: ['--user', as('bob')] }),
    'a user without the right',
  );
  await t.rejects(second.pull(reference, agent.url, { flags: ['--user', 'ann:wrong'] }), 'a wrong password');

  const authFile = path.join(folder, 'auth.json');
  const skopeo = (...flags: string[]): Promise<unknown> =>
    exec('skopeo', ['copy', '--src-tls-verify=false', ...flags], { timeout: 60_000 });
  const source = `docker://${mirror}/${reference}`;
  await t.rejects(skopeo(source, `dir:${folder}/refused`), /unauthorized|authentication required/);
  await t.rejects(skopeo('--src-creds', as('bob'), source, `dir:${folder}/refused`), /denied|unauthorized/);

  const storage = ['--root', `${folder}/p`, '--runroot', `${folder}/r`, '--storage-driver', 'vfs'];
  const registries = path.join(folder, 'registries.conf');
  await writeFile(
    registries,
    `[[registry]]
location = "registry.test"
[[registry.mirror]]
location = "${mirror}/registry.test"
insecure = true
`,
  );
  const podman = (...flags: string[]): Promise<unknown> =>
    exec('podman', [...storage, 'pull', '-q', ...flags, reference], {
      timeout: 60_000,
      env: { ...process.env, CONTAINERS_REGISTRIES_CONF: registries, REGISTRY_AUTH_FILE: authFile },
    });
  await writeFile(authFile, '{}');
  await t.rejects(podman(), 'podman without a log-in');
  await t.rejects(podman('--creds', as('ann')), "podman does not send a registry's credentials to a mirror");
  const pullAgain = ['pull', reference, '--agent', agent.url];
  process.env['REGISTRY_AUTH_FILE'] = authFile;
  const refused = await runShoal(pullAgain);
  t.equal(refused.code, 1);
  t.match(refused.stderr, /authentication required/);
  t.equal(await sent(), afterFirst, 'not one byte of a blob went to any of them');

  await second.pull(reference, agent.url, { flags: ['--user', as('ann')] });
  t.equal(await fromCache(), before + afterFirst, 'containerd has it from the cache');
  const third = await startContainerd(t);
  await third.pull(reference, agent.url, { authorization: formatBasic('ann', PASSWORDS.ann) });
  await skopeo('--src-creds', as('ann'), source, `dir:${folder}/copied`);
  const auth = Buffer.from(as('ann')).toString('base64');
  await writeFile(authFile, JSON.stringify({ auths: { [mirror]: { auth } } }));
  await podman();
  const pulled = await runShoal(pullAgain);
  t.equal(pulled.code, 0, pulled.stderr);
  t.equal(await fromCache(), before + 5 * afterFirst, 'all five from the cache');

  const api = await Promise.all(
    ['status', 'pulls'].map(async (where) => (await fetch(`${agent.url}/api/v1/${where}`)).text()),
  );
  for (const secret of [...Object.values(PASSWORDS), auth, 'eyJ']) {
    for (const text of [agent.log(), origin.log(), ...api]) t.notOk(text.includes(secret), secret);
  }
});
