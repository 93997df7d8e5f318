/** Images whose digests are sha512, pulled by the command line into an OCI layout, from an origin and through an agent. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { digestHex, parseImageReference } from '#oci';
import { parseMetainfo } from '#torrent';
import { pullImage } from '../../src/cli/image.ts';
import { openLayout } from '../../src/cli/layout.ts';
import { openRegistry } from '../../src/cli/registry.ts';
import { putAt, someImage } from '../conformance/support.ts';
import { agentHere } from '../support/in-process.ts';
import { temporaryFolder, testOrigin } from '../support/origin.ts';
import { runShoal } from '../support/shoal.ts';

const platform = 'linux/amd64';

t.test('a layout keeps sha512 blobs in a folder of their own, and continues them', async (t) => {
  const origin = await testOrigin(t);
  const agent = await agentHere(t, [origin.url]);
  const pushed = await someImage(origin, 'team/app', 'sha512');
  const put = await putAt(origin, `/v2/team/app/manifests/${pushed.digest}?tag=v1`, pushed.bytes);
  t.equal(put.status, 201, String(put.body));
  const [config, layer] = pushed.blobs;
  if (!config || !layer) throw new Error('an image has a config and a layer');

  const folder = await temporaryFolder(t);
  const half = path.join(folder, 'blobs/sha512', `${digestHex(layer.digest)}.partial`);
  await mkdir(path.dirname(half), { recursive: true });
  await writeFile(half, layer.bytes.subarray(0, 700));
  const registry = await openRegistry(agent.url);
  t.teardown(() => registry.close());
  const layout = await openLayout(folder);
  const byDigest = parseImageReference(`team/app@${pushed.digest}`);
  const first = await pullImage({ registry, image: byDigest, platform, layout });
  t.match(first, { image: { digest: pushed.digest }, received: first.size - 700 });
  t.same(
    (await readdir(path.join(folder, 'blobs/sha512'))).sort(),
    [pushed, config, layer].map(({ digest }) => digestHex(digest)).sort(),
  );
  t.same(await readFile(path.join(folder, 'blobs/sha512', digestHex(layer.digest))), layer.bytes);
  t.same(await readdir(path.join(folder, 'blobs/sha256')), []);
  t.equal((await pullImage({ registry, image: byDigest, platform, layout })).received, 0);
  t.equal(
    (await pullImage({ registry, image: byDigest, platform })).received,
    first.size,
    'without a layout',
  );

  const run = await runShoal(['pull', 'team/app:v1', '--agent', origin.url, '--oci-layout', folder]);
  t.match([run.code, run.stderr, run.stdout], [0, '', /all digests right/]);
  const index = JSON.parse(await readFile(path.join(folder, 'index.json'), 'utf8'));
  const [entry] = index.manifests;
  t.match(entry.annotations, { 'org.opencontainers.image.ref.name': 'v1' });
});

t.test('wrong bytes under a sha512 digest are refused', async (t) => {
  const origin = await testOrigin(t);
  const pushed = await someImage(origin, 'team/app', 'sha512');
  await putAt(origin, `/v2/team/app/manifests/${pushed.digest}`, pushed.bytes);
  const folder = await temporaryFolder(t);
  const [, layer] = pushed.blobs;
  const half = path.join(folder, 'blobs/sha512', `${digestHex(layer?.digest ?? pushed.digest)}.partial`);
  await mkdir(path.dirname(half), { recursive: true });
  await writeFile(half, Buffer.alloc(700));
  const registry = await openRegistry(origin.url);
  t.teardown(() => registry.close());
  const image = parseImageReference(`team/app@${pushed.digest}`);
  const layout = await openLayout(folder);
  await t.rejects(pullImage({ registry, image, platform, layout }), /is sha512:.*, not sha512:/);
  t.equal((await readdir(path.dirname(half))).includes(path.basename(half, '.partial')), false);
  await pullImage({ registry, image, platform, layout });
  t.same(await readFile(half.replace(/\.partial$/, '')), layer?.bytes, 'the next try begins anew');
});

t.test('a torrent of a sha512 blob', async (t) => {
  const origin = await testOrigin(t);
  const pushed = await someImage(origin, 'team/app', 'sha512');
  const [, layer] = pushed.blobs;
  const file = path.join(await temporaryFolder(t), 'layer.torrent');
  const run = await runShoal([
    ...['torrent', layer?.digest ?? '', '--name', 'team/app'],
    ...['--origin', origin.url, '--output', file],
  ]);
  t.equal(run.code, 0, run.stderr);
  t.equal(parseMetainfo(await readFile(file)).length, layer?.bytes.length);
});
