/**
 * The main job, with the real clients: a real image reaches three containerds through three agents,
 * and podman and skopeo through one of them.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { startContainerd } from '../support/containerd.ts';
import { needs } from '../support/debian.ts';
import { realImage } from '../support/real-image.ts';
import { type Program, startProgram } from '../support/shoal.ts';

const run = promisify(execFile);
const quiet = { maxBuffer: 64 << 20, timeout: 300_000 };
const REFERENCE = 'registry.test/debian/real:v1';

t.test('a real image goes from skopeo to three containerds, podman and skopeo', async (t) => {
  await needs(t, ['containerd', 'runc', 'skopeo', 'podman', 'debootstrap']);
  const image = await realImage();
  const size = image.layers.reduce((sum, layer) => sum + layer.size, 0);
  t.ok(
    size >= 300e6 && image.layers.length >= 4,
    `the image has ${image.layers.length} layers, ${size} bytes`,
  );

  const origin = await startProgram(t, 'origin');
  const agents = await Promise.all([1, 2, 3].map(() => startProgram(t, 'agent', ['--origin', origin.url])));
  const containerds = await Promise.all(agents.map(() => startContainerd(t)));

  const target = `docker://${new URL(origin.url).host}/debian/real:v1`;
  await run('skopeo', ['copy', '--dest-tls-verify=false', image.source, target], quiet);
  const sentByOrigin = (): Promise<number> =>
    origin.metric('shoal_origin_blob_bytes_total', { direction: 'out' });

  const pull = async (index: number): Promise<void> => {
    const agent = agents[index] as Program;
    const containerd = containerds[index];
    await containerd?.pull(REFERENCE, agent.url);
    const served = await agent.metric('shoal_mirror_bytes_total');
    t.ok(served >= size, `agent ${index + 1} served the whole image to containerd (${served} of ${size})`);
  };

  await pull(0);
  const forFirst = await sentByOrigin();
  t.ok(forFirst >= size, `the origin sent the image once to agent 1 (${forFirst} bytes)`);
  await pull(1);
  const forSecond = (await sentByOrigin()) - forFirst;
  t.ok(forSecond < size / 2, `agent 2 took ${forSecond} of ${size} bytes from the origin`);
  await pull(2);
  const forThird = (await sentByOrigin()) - forFirst - forSecond;
  t.ok(forThird < size / 2, `agent 3 took ${forThird} of ${size} bytes from the origin`);

  const output = await containerds[1]?.ctr(
    'run',
    '--rm',
    REFERENCE,
    'shoal-e2e',
    'cat',
    '/etc/debian_version',
  );
  t.match(output, /^12\./, 'the image runs');

  const work = await mkdtemp(path.join(os.tmpdir(), 'shoal-e2e-'));
  t.teardown(() => rm(work, { recursive: true, force: true }));
  const mirror = new URL(agents[0]?.url ?? '').host;
  await run(
    'skopeo',
    ['copy', '--src-tls-verify=false', `docker://${mirror}/debian/real:v1`, `dir:${work}/dir`],
    quiet,
  );
  const podman = ['--root', `${work}/root`, '--runroot', `${work}/run`, '--storage-driver', 'vfs'];
  await run('podman', [...podman, 'pull', '--tls-verify=false', `${mirror}/debian/real:v1`], quiet);
  const images = await run('podman', [...podman, 'images', '-q'], quiet);
  t.match(images.stdout.trim(), /^[0-9a-f]{12}$/, 'podman has the image');
});
