/** Access as skopeo, podman and containerd meet it: the right and the wrong credentials, and what the log keeps. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { writeHtpasswd } from '../support/access.ts';
import { needs } from '../support/debian.ts';
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
