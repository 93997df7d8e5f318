/** A real containerd in a node of a bench, with a root, a state and a socket of its own. */
import type { ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { untilContainerdAnswers, writeContainerdConfig } from '../../test/support/containerd-home.ts';
import type { Processes } from '../fanout/processes.ts';

export interface BenchContainerd {
  /** The daemon; `ctr` comes and goes. */
  readonly process: ChildProcess;
  /**
   * `ctr images pull`, unpacked unless `unpack` is false, with the registry at `url` as the only host of every registry
   * (`_default`). `user` is NAME:PASSWORD.
   */
  pull(
    reference: string,
    url: string,
    options?: { readonly unpack?: boolean; readonly user?: string | undefined },
  ): Promise<void>;
  /** Removes the image, and everything that only it needed, before it returns. */
  forget(reference: string): Promise<void>;
}

/** Starts it and waits until it answers. Its processes end with `processes`; `home` is the caller's to remove. */
export async function startContainerd(given: {
  readonly processes: Processes;
  readonly namespace: string;
  readonly home: string;
}): Promise<BenchContainerd> {
  const { processes, namespace, home } = given;
  const hosts = path.join(home, 'hosts');
  await mkdir(path.join(hosts, '_default'), { recursive: true });
  const { config, socket } = await writeContainerdConfig(home);
  const daemon = processes.start(namespace, 'containerd', ['-c', config, '--log-level', 'fatal']);
  const ctr = (...args: string[]): Promise<string> =>
    processes.run(namespace, 'ctr', ['-a', socket, ...args]);
  await untilContainerdAnswers(ctr, daemon);
  return {
    process: daemon,
    async pull(reference, url, { unpack = true, user } = {}) {
      const toml = `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`;
      await writeFile(path.join(hosts, '_default/hosts.toml'), toml);
      const login = user === undefined ? [] : ['--user', user];
      const command = unpack ? ['images', 'pull'] : ['content', 'fetch'];
      await ctr(...command, ...login, '--hosts-dir', hosts, reference);
    },
    async forget(reference) {
      await ctr('images', 'rm', '--sync', reference);
    },
  };
}
