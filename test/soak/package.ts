/**
 * `node test/soak/package.ts [--deb FILE]`: installs the package in a new Debian root (debootstrap, with containerd and podman as Debian
 * configures them), starts the agent there as its own user, sets up the clients, pulls through it with both, asks the doctor, takes the
 * set-up back and removes the package. Needs root. Without --deb the package is built first.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import t from 'tap';
import { needs } from '../support/debian.ts';
import { freePort } from '../support/ports.ts';
import { pushRunnableImage } from '../support/runnable-image.ts';
import { startProgram } from '../support/shoal.ts';

const run = promisify(execFile);
const tree = fileURLToPath(new URL('../..', import.meta.url));
const QUIET = { maxBuffer: 64 << 20 };
const IMAGE = 'docker.io/library/packaged:v1';
const { values } = parseArgs({ options: { deb: { type: 'string' } } });

t.setTimeout(0);

t.test('dpkg -i to the first mirrored pull, and back', async (t) => {
  await needs(t, ['debootstrap', 'dpkg-dev']);
  const home = await mkdtemp(path.join(os.tmpdir(), 'shoal-packaged-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  const deb = values.deb ?? (await build(path.join(home, 'dist')));
  const root = path.join(home, 'root');
  await run('debootstrap', ['--variant=minbase', 'bookworm', root], QUIET);

  /** As on a machine of its own: its root folder, a mount as podman wants it, with /proc and /dev; gone when the command ends. */
  const mounts = `mount --bind '${root}' '${root}' && mount -t proc proc '${root}/proc' && mount --rbind /dev '${root}/dev'`;
  const inside = (...command: string[]): readonly [string, string[]] => [
    'unshare',
    [
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      `${mounts} && exec chroot '${root}' "$@"`,
      'sh',
      ...command,
    ],
  ];
  const say = async (...command: string[]): Promise<string> => {
    const begun = performance.now();
    const { stdout, stderr } = await run(...inside(...command), QUIET);
    t.comment(`${((performance.now() - begun) / 1000).toFixed(1)} s  ${command.join(' ')}`);
    return stdout + stderr;
  };
  const background = (...command: string[]): void => {
    const child = spawn(...inside(...command), { stdio: 'ignore' });
    t.teardown(async () => {
      if (child.exitCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    });
  };

  const install = ['apt-get', 'install', '-y', '-qq', '--no-install-recommends'];
  await say('env', 'DEBIAN_FRONTEND=noninteractive', ...install, 'containerd', 'podman', 'ca-certificates');

  const origin = await startProgram(t, 'origin');
  await pushRunnableImage(origin.url, 'library/packaged', 'v1', 3 << 20);
  const hosts = path.join(root, 'etc/containerd/certs.d/docker.io');
  mkdirSync(hosts, { recursive: true });
  writeFileSync(path.join(hosts, 'hosts.toml'), '# an operator was here\n[host."https://127.0.0.1:9"]\n');
  const before = snapshot(root);

  const begun = performance.now();
  copyFileSync(deb, path.join(root, 'tmp/shoal.deb'));
  t.match(await say('dpkg', '-i', '/tmp/shoal.deb'), /name your origin in \/etc\/shoal\/agent\.yaml/);
  const port = await freePort();
  const config = path.join(root, 'etc/shoal/agent.yaml');
  const listen = `127.0.0.1:${port}`;
  const swarm = 'peer: {listen: "127.0.0.1:0"}\nbittorrent: {listen: "127.0.0.1:0"}\n';
  writeFileSync(
    config,
    `${readFileSync(config, 'utf8')}\norigin: ${origin.url}\nlisten: ${listen}\n${swarm}`,
  );
  const asUser = ['setpriv', '--reuid=shoal', '--regid=shoal', '--clear-groups', 'env'];
  const state = ['STATE_DIRECTORY=/var/lib/shoal/agent', 'SHOAL_CONFIG=/etc/shoal/agent.yaml'];
  background(...asUser, ...state, 'shoal', 'agent');
  await answers(`http://${listen}/readyz`);
  const agent = ['--agent', `http://${listen}`];
  background('containerd', '--log-level', 'error');
  await until(async () => (await run(...inside('ctr', 'version')).catch(() => undefined)) !== undefined);
  t.match(
    await say('shoal', 'node', 'setup', 'containerd', ...agent, '--check', IMAGE),
    /ctr pulled .* through the agent/,
  );
  t.comment(`dpkg -i to the first mirrored pull: ${((performance.now() - begun) / 1000).toFixed(1)} s`);

  for (const client of ['containerd', 'podman', 'crio']) {
    if (client !== 'containerd') await say('shoal', 'node', 'setup', client, ...agent);
    t.match(
      await say('shoal', 'node', 'setup', client, ...agent),
      new RegExp(`No change: ${client} is set up`),
    );
  }
  const pulled = await say(
    'podman',
    '--storage-driver',
    'vfs',
    '--cgroup-manager',
    'cgroupfs',
    'pull',
    '--quiet',
    IMAGE,
  );
  t.match(pulled, /[0-9a-f]{64}/, 'podman pulled through the agent: its registry is not to be had here');
  t.match(await say('shoal', 'node', 'doctor'), /\nNothing is wrong\.\n/);

  t.match(await say('dpkg', '-r', 'shoal'), /restored \/etc\/containerd\/config\.toml/);
  await say('dpkg', '--purge', 'shoal');
  t.strictSame(snapshot(root), before, 'the clients are configured as before the package, to the byte');
});

async function build(out: string): Promise<string> {
  await run('npm', ['run', '--silent', 'package', '--', '--out', out], { cwd: tree, ...QUIET });
  const deb = readdirSync(out).find((name) => name.endsWith('.deb'));
  if (deb === undefined) throw new Error('no package was built');
  return path.join(out, deb);
}

/** The clients' configuration. */
function snapshot(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const folder of ['etc/containerd', 'etc/containers', 'etc/shoal', 'var/lib/shoal-node']) {
    const at = path.join(root, folder);
    for (const entry of readdirSafe(at)) {
      const file = path.join(entry.parentPath, entry.name);
      if (entry.isFile()) found[path.relative(root, file)] = readFileSync(file, 'base64');
    }
  }
  return found;
}

function readdirSafe(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true, recursive: true });
  } catch {
    return [];
  }
}

function answers(url: string): Promise<void> {
  return until(() =>
    fetch(url).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('it took more than a minute');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
