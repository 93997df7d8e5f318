/**
 * `shoal node setup` with a real containerd and podman. Their folders below /etc and /var/lib are the test's own, by mounts in
 * a mount namespace that only these commands see.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { startContainerd } from '../support/containerd.ts';
import { needs } from '../support/debian.ts';
import { pushRunnableImage } from '../support/runnable-image.ts';
import { startProgram } from '../support/shoal.ts';

const bin = fileURLToPath(new URL('../../bin/shoal', import.meta.url));
const MOUNTS = [
  ['etc/containerd', '/etc/containerd'],
  ['etc/containers', '/etc/containers'],
  ['var/lib', '/var/lib'],
] as const;

interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs commands on a node with folders of its own. */
async function ownNode(t: Test): Promise<{ home: string; run: (...command: string[]) => Promise<Answer> }> {
  const home = await mkdtemp(path.join(os.tmpdir(), 'shoal-node-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  for (const [folder, place] of MOUNTS) {
    mkdirSync(path.join(home, folder), { recursive: true });
    if (place !== '/var/lib') cpSync(place, path.join(home, folder), { recursive: true });
  }
  writeFileSync(
    path.join(home, 'storage.conf'),
    `[storage]\ndriver = "vfs"\ngraphroot = "${home}/graph"\nrunroot = "${home}/run"\n`,
  );
  const mounts = MOUNTS.map(([folder, place]) => `mount --bind '${home}/${folder}' ${place}`).join(' && ');
  const run = (...command: string[]): Promise<Answer> =>
    new Promise((resolve) => {
      const args = [
        '--mount',
        '--propagation',
        'private',
        'sh',
        '-c',
        `${mounts} && exec "$@"`,
        'sh',
        ...command,
      ];
      const env = { ...process.env, CONTAINERS_STORAGE_CONF: path.join(home, 'storage.conf') };
      const child = execFile('unshare', args, { env, timeout: 120_000 }, (_error, out, err) => {
        resolve({ code: child.exitCode, out, err });
      });
    });
  return { home, run };
}

t.test(
  'containerd and podman pull through the agent after it, and past it before and after --undo',
  async (t) => {
    await needs(t, ['containerd', 'podman', 'runc', 'golang-github-containers-common']);
    const origin = await startProgram(t, 'origin');
    const agent = await startProgram(t, 'agent', ['--origin', origin.url]);
    await pushRunnableImage(origin.url, 'library/setup', 'v1', 700_000);
    const image = 'docker.io/library/setup:v1';
    const node = await ownNode(t);
    const containerd = await startContainerd(t);
    const setup = (...args: string[]) => node.run(bin, 'node', 'setup', ...args, '--agent', agent.url);
    const before = readFileSync(path.join(node.home, 'etc/containerd/config.toml'));

    const address = ['--containerd-address', containerd.socket];
    t.match(await setup('containerd', ...address, '--check', image), {
      code: 0,
      out: /wrote .*hosts\.toml\nNow run: systemctl restart containerd\nctr pulled .* through the agent: its requests grew by \d+\.\n$/,
    });
    t.ok((await agent.metric('shoal_mirror_bytes_total')) > 700_000, 'the layer came from the agent');
    t.match(await setup('containerd'), { code: 0, out: 'No change: containerd is set up.\n' });

    const podman = await node.run('podman', 'pull', '--quiet', image);
    t.not(podman.code, 0, 'podman does not know the agent yet');
    t.match(await setup('podman', '--registry', 'docker.io', '--check', image), {
      code: 0,
      out: /wrote .*50-shoal\.conf\nIn force from the next pull on\.\npodman pulled .* through the agent/,
    });

    // An agent that nobody pulls from: the check must not take another's word for it.
    const idle = await startProgram(t, 'agent', ['--origin', origin.url]);
    const past = [
      '--agent',
      idle.url,
      '--registry',
      'quay.io',
      '--check',
      `${new URL(agent.url).host}/library/setup:v1`,
    ];
    const plain = path.join(node.home, 'etc/containers/registries.conf.d/10-plain.conf');
    writeFileSync(plain, `[[registry]]\nlocation = "${new URL(agent.url).host}"\ninsecure = true\n`);
    t.match(await node.run(bin, 'node', 'setup', 'podman', ...past), {
      code: 1,
      err: /podman pulled .*, but not through the agent at http.*shoal node doctor/,
    });

    t.match(await setup('containerd', '--undo'), { code: 0, out: /restored .*config\.toml\n/ });
    t.match(await setup('podman', '--undo'), { code: 0, out: /removed .*50-shoal\.conf\n/ });
    t.ok(readFileSync(path.join(node.home, 'etc/containerd/config.toml')).equals(before), 'to the byte');
    t.notOk(existsSync(path.join(node.home, 'etc/containerd/certs.d')));
    t.notOk(existsSync(path.join(node.home, 'var/lib/shoal-node')));
  },
);
