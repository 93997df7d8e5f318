/**
 * `node test/soak/image.ts --deb FILE`: builds the container image with buildah on a base made by debootstrap, runs it with podman as an
 * agent, read-only and without capabilities as the chart does, and pulls through it. Needs root.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import t from 'tap';
import { needs } from '../support/debian.ts';
import { freePort } from '../support/ports.ts';
import { pushRunnableImage } from '../support/runnable-image.ts';
import { runShoal, startProgram } from '../support/shoal.ts';

const run = promisify(execFile);
const tree = fileURLToPath(new URL('../..', import.meta.url));
const QUIET = { maxBuffer: 64 << 20 };
const READY_ATTEMPTS = 600;
const { values } = parseArgs({ options: { deb: { type: 'string' } } });

t.setTimeout(0);

t.test('the image runs as an agent, and a pull goes through it', async (t) => {
  await needs(t, ['buildah', 'podman', 'debootstrap', 'runc']);
  const deb = path.resolve(values.deb ?? '');
  const home = await mkdtemp(path.join(os.tmpdir(), 'shoal-image-run-'));
  t.teardown(() => rm(home, { recursive: true, force: true }));
  const store = ['--root', `${home}/graph`, '--runroot', `${home}/run`, '--storage-driver', 'vfs'];
  const podman = (...args: string[]) =>
    run('podman', [...store, '--cgroup-manager', 'cgroupfs', '--runtime', 'runc', ...args], QUIET);

  await run('debootstrap', ['--variant=minbase', 'bookworm', `${home}/base`], QUIET);
  await run('tar', ['-C', `${home}/base`, '-cf', `${home}/base.tar`, '.'], QUIET);
  await podman('import', `${home}/base.tar`, 'localhost/base:12');
  const file = ['--file', path.join(tree, 'deploy/image/Containerfile'), '--tag', 'localhost/shoal:test'];
  const args = ['--build-arg', 'BASE=localhost/base:12', '--build-arg', `DEB=${path.basename(deb)}`];
  await run(
    'buildah',
    [...store, 'build', '--isolation', 'chroot', ...args, ...file, path.dirname(deb)],
    QUIET,
  );

  const origin = await startProgram(t, 'origin');
  await pushRunnableImage(origin.url, 'library/imaged', 'v1', 3 << 20);
  const listen = `127.0.0.1:${await freePort()}`;
  const data = path.join(home, 'data');
  await mkdir(data);
  await chown(data, 10_001, 10_001);
  const confined = ['--read-only', '--cap-drop=all', '--user=10001:10001', '--network=host'];
  // Not more than this machine lets anybody have.
  const limits = ['--ulimit=nofile=16384:16384', '--ulimit=nproc=4096:4096'];
  const scratch = ['--tmpfs=/tmp', `--volume=${data}:/data`, '--env=NODE_COMPILE_CACHE=/tmp', ...limits];
  const swarm = ['--peer-listen=127.0.0.1:0', '--bittorrent-listen=127.0.0.1:0'];
  const agent = ['agent', `--origin=${origin.url}`, `--listen=${listen}`, '--data=/data', ...swarm];
  const flags = ['--cgroup-manager', 'cgroupfs', '--runtime', 'runc'];
  const name = `shoal-image-${process.pid}`;
  const child = spawn(
    'podman',
    [
      ...store,
      ...flags,
      'run',
      '--rm',
      '--name',
      name,
      ...confined,
      ...scratch,
      'localhost/shoal:test',
      ...agent,
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  for (let attempt = 0; attempt < READY_ATTEMPTS && child.exitCode === null; attempt += 1) {
    const ready = await fetch(`http://${listen}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (ready) break;
    await delay(100);
  }
  const pulled = await runShoal(['pull', 'docker.io/library/imaged:v1', '--agent', `http://${listen}`]);
  if (!t.match(pulled, { code: 0, stdout: /all digests right/ })) return;
  await podman('stop', '--time', '30', name);
  t.strictSame(await ended, [0, null], 'it drains and ends by itself');
});
