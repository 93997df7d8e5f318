/**
 * Images that the origin never saw, from a docker-registry, through an agent, by the clients that people
 * have: containerd with its `_default` mirror, podman and skopeo with the registry in the mirror's path.
 */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { startContainerd } from '../support/containerd.ts';
import { needs } from '../support/debian.ts';
import { type DockerRegistry, dockerRegistry } from '../support/docker-registry.ts';
import { layeredImage } from '../support/layered-image.ts';
import { temporaryFolder } from '../support/origin.ts';
import { type Program, startProgram } from '../support/shoal.ts';

await needs(t, ['docker-registry', 'containerd', 'runc', 'podman', 'skopeo']);

const exec = promisify(execFile);
const REFERENCE = 'hub.test/team/app:v1';

async function run(file: string, ...args: string[]): Promise<string> {
  const { stdout } = await exec(file, args, { maxBuffer: 16 << 20, timeout: 120_000 });
  return stdout;
}

async function publish(t: Test, registry: DockerRegistry, user?: string): Promise<string> {
  const image = await layeredImage(t);
  const target = `docker://${new URL(registry.url).host}/team/app:v1`;
  const login = user === undefined ? [] : [`--dest-creds=${user}`];
  await run(
    'skopeo',
    'copy',
    '--preserve-digests',
    '--dest-tls-verify=false',
    ...login,
    image.reference,
    target,
  );
  return image.manifest;
}

/** containerd with the agent as the mirror of every registry. The registry itself cannot be reached. */
async function pullByDefault(t: Test, agent: Program): Promise<string> {
  const hosts = await temporaryFolder(t);
  await mkdir(path.join(hosts, '_default'));
  const toml = `[host."${agent.url}"]\n  capabilities = ["pull", "resolve"]\n`;
  await writeFile(path.join(hosts, '_default/hosts.toml'), toml);
  const containerd = await startContainerd(t);
  await containerd.ctr('images', 'pull', '--hosts-dir', hosts, REFERENCE);
  return containerd.ctr('images', 'ls', `name==${REFERENCE}`);
}

/** podman and skopeo with a mirror for `hub.test` that keeps the registry in its path, as CRI-O is set up. */
async function pullByPath(t: Test, agent: Program): Promise<{ podman: string; skopeo: string }> {
  const folder = await temporaryFolder(t);
  const conf = path.join(folder, 'registries.conf');
  const mirror = `${new URL(agent.url).host}/hub.test`;
  await writeFile(
    conf,
    `[[registry]]\nlocation = "hub.test"\n[[registry.mirror]]\nlocation = "${mirror}"\ninsecure = true\n`,
  );
  const env = { ...process.env, CONTAINERS_REGISTRIES_CONF: conf };
  const options = { env, maxBuffer: 16 << 20, timeout: 120_000 };
  const storage = ['--root', `${folder}/root`, '--runroot', `${folder}/run`, '--storage-driver', 'vfs'];
  await exec('podman', [...storage, 'pull', REFERENCE], options);
  const images = await exec('podman', [...storage, 'images', '--format', '{{.Digest}}', REFERENCE], options);
  await exec(
    'skopeo',
    ['--registries-conf', conf, 'copy', `docker://${REFERENCE}`, `dir:${folder}/copy`],
    options,
  );
  const digest = await run('skopeo', 'manifest-digest', `${folder}/copy/manifest.json`);
  return { podman: images.stdout.trim(), skopeo: digest.trim() };
}

async function everyClient(
  t: Test,
  registry: DockerRegistry,
  manifest: string,
  more: string[],
): Promise<void> {
  const origin = await startProgram(t, 'origin', ['--upstream', `hub.test=${registry.url}${more[0] ?? ''}`]);
  const agent = await startProgram(t, 'agent', ['--origin', origin.url]);
  const listing = await pullByDefault(t, agent);
  t.match(listing, manifest, 'containerd has it');
  const copies = await pullByPath(t, agent);
  t.equal(copies.podman, manifest, 'podman has it');
  t.equal(copies.skopeo, manifest, 'skopeo has it');
  t.equal(registry.requests('GET', 200, /\/blobs\/sha256/), 3, 'config and two layers came once');
  const { layers } = await agent.metric('shoal_cache_blobs').then((blobs) => ({ layers: blobs }));
  t.equal(layers, 3, 'one cache serves both forms');
}

t.test('an open upstream', async (t) => {
  const registry = await dockerRegistry(t);
  await everyClient(t, registry, await publish(t, registry), []);
});

t.test('an upstream with a password', async (t) => {
  const registry = await dockerRegistry(t, { name: 'puller', password: 'secret' });
  const manifest = await publish(t, registry, 'puller:secret');
  const folder = await temporaryFolder(t);
  const file = path.join(folder, 'password');
  await writeFile(file, 'secret\n');
  await everyClient(t, registry, manifest, [` username=puller password-file=${file} public=true`]);
});
