/** A node's disk after a pull: with containerd's content store shared, every blob is there once. */
import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { startContainerd } from '../support/containerd.ts';
import { needs } from '../support/debian.ts';
import { until } from '../support/in-process.ts';
import { layeredImage } from '../support/layered-image.ts';
import { startProgram } from '../support/shoal.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const REFERENCE = 'registry.test/team/layered:v1';

/** A file with several names counts once, as on the disk. */
async function diskUse(...folders: string[]): Promise<number> {
  const { stdout } = await run('du', ['--block-size=1', '-sc', ...folders]);
  return Number(stdout.trim().split('\n').at(-1)?.split('\t')[0]);
}

t.test('a pull by containerd through an agent that shares its content store', async (t) => {
  await needs(t, ['containerd', 'skopeo']);
  const image = await layeredImage(t, 32 * MIB);
  const origin = await startProgram(t, 'origin');
  const containerd = await startContainerd(t);
  const agent = await startProgram(t, 'agent', [
    ...['--origin', origin.url, '--containerd-content', containerd.content],
  ]);
  const target = `docker://${new URL(origin.url).host}/team/layered:v1`;
  await run('skopeo', ['copy', '--dest-tls-verify=false', image.reference, target]);
  await containerd.pull(REFERENCE, agent.url);
  await until(async () => (await agent.metric('shoal_cache_shared_total', { how: 'linked' })) === 3);

  const size = await diskUse(containerd.content);
  const both = await diskUse(containerd.content, agent.data);
  t.ok(size > 32 * MIB);
  t.ok(both <= 1.05 * size, `${both} bytes for an image of ${size}: ${(both / size).toFixed(3)} times`);

  const blobs = path.join(containerd.content, 'blobs/sha256');
  const names = await readdir(blobs);
  const sizes = await Promise.all(names.map(async (name) => (await stat(path.join(blobs, name))).size));
  const large = `sha256:${names[sizes.indexOf(Math.max(...sizes))]}`;
  // containerd collects everything; what the agent has linked stays, and is served to the next client.
  await containerd.ctr('images', 'rm', '--sync', REFERENCE);
  await until(async () => !(await readdir(blobs)).includes(large.slice('sha256:'.length)));
  const fetched = await agent.metric('shoal_fetch_bytes_total');
  await containerd.pull(REFERENCE, agent.url);
  t.equal(await agent.metric('shoal_fetch_bytes_total'), fetched, 'nothing came over the network');
});
