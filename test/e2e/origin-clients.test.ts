/** The clients that people push and pull with: skopeo, podman, buildah and containerd, against one origin. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { startContainerd } from '../support/containerd.ts';
import { needs } from '../support/debian.ts';
import { layeredImage } from '../support/layered-image.ts';
import { INDEX, type TestOrigin, temporaryFolder, testOrigin } from '../support/origin.ts';

const exec = promisify(execFile);

async function run(file: string, ...args: string[]): Promise<string> {
  const { stdout } = await exec(file, args, { maxBuffer: 16 << 20, timeout: 120_000 });
  return stdout;
}

async function tags(origin: TestOrigin, name: string): Promise<string[]> {
  return ((await origin.call('GET', `/v2/${name}/tags/list`)).json() as { tags: string[] }).tags;
}

t.test('skopeo', async (t) => {
  await needs(t, ['skopeo']);
  const origin = await testOrigin(t);
  const image = await layeredImage(t);
  const host = new URL(origin.url).host;
  const target = `docker://${host}/team/app`;
  await run('skopeo', 'copy', '--dest-tls-verify=false', image.reference, `${target}:v1`);
  const inspected = JSON.parse(await run('skopeo', 'inspect', '--tls-verify=false', `${target}:v1`)) as {
    Digest: string;
    RepoTags: string[];
  };
  t.same([inspected.Digest, inspected.RepoTags], [image.manifest, ['v1']]);

  const before = await origin.metric('shoal_origin_blob_bytes_total', { direction: 'in' });
  await run(
    'skopeo',
    'copy',
    '--src-tls-verify=false',
    '--dest-tls-verify=false',
    `${target}:v1`,
    `docker://${host}/other/app:copy`,
  );
  t.same(await tags(origin, 'other/app'), ['copy']);
  const pushedAgain = (await origin.metric('shoal_origin_blob_bytes_total', { direction: 'in' })) - before;
  t.ok(pushedAgain < 5000, `layers are mounted: the second push sent ${pushedAgain} bytes`);

  const docker = ['--format', 'v2s2'];
  await run('skopeo', 'copy', ...docker, '--dest-tls-verify=false', image.reference, `${target}:docker`);
  const folder = await temporaryFolder(t);
  for (const tag of ['v1', 'docker']) {
    await run('skopeo', 'copy', '--src-tls-verify=false', `${target}:${tag}`, `dir:${folder}/${tag}`);
  }
  const pulled = await readFile(path.join(folder, 'v1/manifest.json'));
  t.equal(`sha256:${createHash('sha256').update(pulled).digest('hex')}`, image.manifest);
  await run('skopeo', 'delete', '--tls-verify=false', `${target}:docker`);
  t.same(await tags(origin, 'team/app'), ['v1']);
});

t.test('podman and buildah', async (t) => {
  await needs(t, ['podman', 'buildah', 'skopeo']);
  const origin = await testOrigin(t);
  const image = await layeredImage(t);
  const host = new URL(origin.url).host;
  const work = await temporaryFolder(t);
  const storage = ['--root', `${work}/root`, '--runroot', `${work}/run`, '--storage-driver', 'vfs'];
  const podman = (...args: string[]): Promise<string> => run('podman', ...storage, ...args);
  const buildah = (...args: string[]): Promise<string> => run('buildah', ...storage, ...args);

  await run('skopeo', 'copy', '--dest-tls-verify=false', image.reference, `docker://${host}/pod/base:v1`);
  const id = (await podman('pull', '-q', '--tls-verify=false', `${host}/pod/base:v1`)).trim();
  await podman('push', '--tls-verify=false', id, `${host}/pod/app:v1`);
  await podman('rmi', '-f', id);
  t.equal((await podman('pull', '-q', '--tls-verify=false', `${host}/pod/app:v1`)).trim(), id);

  const container = (await buildah('from', '--pull-never', id)).trim();
  await buildah('config', '--label', 'made=here', container);
  const built = (await buildah('commit', '-q', container)).trim();
  await buildah('push', '--tls-verify=false', built, `docker://${host}/pod/built:v1`);
  await buildah('manifest', 'create', 'many');
  await buildah('manifest', 'add', '--tls-verify=false', 'many', `docker://${host}/pod/built:v1`);
  await buildah('manifest', 'push', '--all', '--tls-verify=false', 'many', `docker://${host}/pod/built:many`);
  t.same(await tags(origin, 'pod/built'), ['many', 'v1']);
  const list = await origin.call('GET', '/v2/pod/built/manifests/many');
  t.match(list.headers['content-type'], /index|manifest\.list/, `${INDEX} or docker's`);
  await buildah('rm', container);
  await buildah('rmi', '-f', built);
  t.equal((await buildah('pull', '-q', '--tls-verify=false', `docker://${host}/pod/built:v1`)).trim(), built);
});

t.test('containerd', async (t) => {
  await needs(t, ['containerd', 'skopeo']);
  const origin = await testOrigin(t);
  const image = await layeredImage(t);
  const host = new URL(origin.url).host;
  await run(
    'skopeo',
    'copy',
    '--dest-tls-verify=false',
    image.reference,
    `docker://${host}/registry.test/nerd/app:v1`,
  );
  const containerd = await startContainerd(t);
  await containerd.pull('registry.test/nerd/app:v1', origin.url);
  t.match(await containerd.ctr('images', 'ls', '-q'), /registry\.test\/nerd\/app:v1/);
  await containerd.ctr('images', 'tag', 'registry.test/nerd/app:v1', `${host}/nerd/pushed:v1`);
  await containerd.ctr('images', 'push', '--plain-http', `${host}/nerd/pushed:v1`);
  const pushed = await origin.call('HEAD', '/v2/nerd/pushed/manifests/v1');
  t.equal(pushed.headers['docker-content-digest'], image.manifest);
});
