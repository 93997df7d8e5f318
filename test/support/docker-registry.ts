/** Debian's docker-registry as a child process, with deletes, and a user file when it is given one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { temporaryFolder } from './origin.ts';
import { freePort } from './shoal.ts';

export async function dockerRegistry(t: Test, htpasswd?: string): Promise<{ readonly url: string }> {
  const folder = await temporaryFolder(t);
  const address = `127.0.0.1:${await freePort()}`;
  const config = path.join(folder, 'config.yml');
  const storage = { filesystem: { rootdirectory: folder }, delete: { enabled: true } };
  const auth = htpasswd === undefined ? {} : { auth: { htpasswd: { realm: 'test', path: htpasswd } } };
  await writeFile(config, JSON.stringify({ version: 0.1, storage, http: { addr: address }, ...auth }));
  const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  t.teardown(async () => {
    if (child.exitCode !== null) return;
    child.kill();
    await once(child, 'exit');
  });
  const url = `http://${address}`;
  for (let attempt = 0; attempt < 300 && child.exitCode === null; attempt += 1) {
    const answers = await fetch(`${url}/v2/`).then(
      (answer) => answer.ok || answer.status === 401,
      () => false,
    );
    if (answers) return { url };
    await delay(100);
  }
  throw new Error('docker-registry did not start');
}
