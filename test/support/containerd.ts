/**
 * A real containerd of a test's own: its own root, state and socket, no CRI. Needs root.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { untilContainerdAnswers, writeContainerdConfig } from './containerd-home.ts';

const run = promisify(execFile);

export interface Containerd {
  readonly socket: string;
  /** Folder of its content store. */
  readonly content: string;
  /** Runs `ctr` against this daemon and answers with its standard output. */
  ctr(...args: string[]): Promise<string>;
  /**
   * `ctr images pull` of `reference` with `mirror` as the only mirror of its registry. `authorization` goes
   * into hosts.toml, `flags` to ctr.
   */
  pull(
    reference: string,
    mirror: string,
    options?: { readonly flags?: readonly string[]; readonly authorization?: string },
  ): Promise<string>;
}

export async function startContainerd(t: Test): Promise<Containerd> {
  const home = await mkdtemp(path.join(os.tmpdir(), 'shoal-containerd-'));
  const { config, socket } = await writeContainerdConfig(home);
  const child = spawn('containerd', ['-c', config], { stdio: 'ignore' });
  t.teardown(async () => {
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    await rm(home, { recursive: true, force: true });
  });
  const ctr = async (...args: string[]): Promise<string> => {
    const { stdout } = await run('ctr', ['-a', socket, ...args], { maxBuffer: 64 << 20, timeout: 300_000 });
    return stdout;
  };
  await untilContainerdAnswers(ctr, child);
  return {
    socket,
    content: path.join(home, 'root/io.containerd.content.v1.content'),
    ctr,
    async pull(reference, mirror, { flags = [], authorization } = {}) {
      const registry = reference.slice(0, reference.indexOf('/'));
      const hosts = path.join(home, 'hosts');
      await mkdir(path.join(hosts, registry), { recursive: true });
      await writeFile(
        path.join(hosts, registry, 'hosts.toml'),
        `server = "https://${registry}"\n[host."${mirror}"]\n  capabilities = ["pull", "resolve"]\n${
          authorization === undefined
            ? ''
            : `  [host."${mirror}".header]\n    Authorization = "${authorization}"\n`
        }`,
      );
      return ctr('images', 'pull', '--hosts-dir', hosts, ...flags, reference);
    },
  };
}
