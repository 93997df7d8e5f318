/** Debian's docker-registry as a registry that is not ours: a process of its own, open or with a password. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { basic, writeHtpasswd } from './access.ts';
import { temporaryFolder } from './origin.ts';
import { freePort } from './ports.ts';

export interface DockerRegistry {
  readonly url: string;
  /** Headers that log in; none for an open one. */
  readonly login: Readonly<Record<string, string>>;
  /** How often its access log has an answer with this method and status to a path that matches. */
  requests(method: string, status: number, path: RegExp): number;
  stop(): Promise<void>;
  /** Again, on the same port and data. */
  start(): Promise<void>;
}

/** `user`: whoever cannot log in as this one gets nothing. */
export async function dockerRegistry(
  t: Test,
  user?: { readonly name: string; readonly password: string },
): Promise<DockerRegistry> {
  const folder = await temporaryFolder(t);
  const address = `127.0.0.1:${await freePort()}`;
  const config = path.join(folder, 'config.yml');
  const storage = { filesystem: { rootdirectory: path.join(folder, 'data') }, delete: { enabled: true } };
  const htpasswd = path.join(folder, 'htpasswd');
  if (user) await writeHtpasswd(htpasswd, { [user.name]: user.password });
  const auth = user && { htpasswd: { realm: 'upstream', path: htpasswd } };
  await writeFile(
    config,
    JSON.stringify({ version: 0.1, storage, http: { addr: address }, ...(auth && { auth }) }),
  );
  const url = `http://${address}`;
  let log = '';
  let child = undefined as ReturnType<typeof spawn> | undefined;

  const stop = async (): Promise<void> => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill();
    await once(child, 'exit');
  };
  const start = async (): Promise<void> => {
    child = spawn('docker-registry', ['serve', config], { stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    for (let attempt = 0; attempt < 300; attempt += 1) {
      const up = await fetch(`${url}/v2/`).then(
        (answer) => answer.status === (user ? 401 : 200),
        () => false,
      );
      if (up) return;
      await delay(50);
    }
    throw new Error('docker-registry did not start');
  };
  t.teardown(stop);
  await start();
  return {
    url,
    login: user ? basic(user.name, user.password) : {},
    requests: (method, status, wanted) =>
      [...log.matchAll(/"(\w+) (\S+) HTTP\/1\.1" (\d{3}) /g)].filter(
        ([, verb, where = '', code]) => verb === method && Number(code) === status && wanted.test(where),
      ).length,
    stop,
    start,
  };
}
