/** A containerd that shares nothing with the machine's own: root, state and socket in one folder, no CRI. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Snapshotters that would look at the machine's devices and say that they cannot run. */
const UNUSED = ['btrfs', 'zfs', 'devmapper', 'aufs'].map((name) => `io.containerd.snapshotter.v1.${name}`);
const START_ATTEMPTS = 100;
const ATTEMPT_MS = 100;

/** Writes its configuration into `home`; answers with the configuration's path and the socket's. */
export async function writeContainerdConfig(
  home: string,
): Promise<{ readonly config: string; readonly socket: string }> {
  const socket = path.join(home, 'c.sock');
  const config = path.join(home, 'config.toml');
  await writeFile(
    config,
    `version = 2
root = "${home}/root"
state = "${home}/state"
disabled_plugins = ${JSON.stringify(['io.containerd.grpc.v1.cri', ...UNUSED])}
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
`,
  );
  return { config, socket };
}

/** Waits until `ctr version` succeeds. @throws Error when the daemon ended, or does not answer in time */
export async function untilContainerdAnswers(
  ctr: (...args: string[]) => Promise<unknown>,
  daemon: { readonly exitCode: number | null },
): Promise<void> {
  for (let attempt = 0; attempt <= START_ATTEMPTS && daemon.exitCode === null; attempt += 1) {
    const up = await ctr('version').then(
      () => true,
      () => false,
    );
    if (up) return;
    await delay(ATTEMPT_MS);
  }
  throw new Error('containerd did not start');
}
