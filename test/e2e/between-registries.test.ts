/** Copies between registries with real clients: two origins, and Debian's docker-registry; deletes, artifacts, many platforms. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { ask, putAt, someImage } from '../conformance/support.ts';
import { accessOf, basic } from '../support/access.ts';
import { needs } from '../support/debian.ts';
import { dockerRegistry } from '../support/docker-registry.ts';
import {
  INDEX,
  LAYER,
  MANIFEST,
  pushBlob,
  type TestOrigin,
  temporaryFolder,
  testOrigin,
} from '../support/origin.ts';

const exec = promisify(execFile);
/** One user, who may do everything at the registries with access control. */
const ANN = ['ann', 'copies-only-9'] as const;
const CREDS = ANN.join(':');
/** As this skopeo words it, the body of a HEAD being empty. */
const REFUSED = /invalid username\/password|unauthorized|authentication required|denied/;
const PLAIN = ['--preserve-digests', '--src-tls-verify=false', '--dest-tls-verify=false'];

async function run(file: string, ...args: string[]): Promise<string> {
  const { stdout } = await exec(file, args, { maxBuffer: 16 << 20, timeout: 120_000 });
  return stdout;
}

/** An index of two platforms under the tag `many`; answers with its digest. */
async function manyPlatforms(origin: Awaited<ReturnType<typeof testOrigin>>, name: string): Promise<string> {
  const manifests = [];
  for (const architecture of ['amd64', 'arm64']) {
    const config = Buffer.from(
      JSON.stringify({ architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: [] } }),
    );
    const layer = Buffer.from(`layer for ${architecture}`);
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: {
          mediaType: 'application/vnd.oci.image.config.v1+json',
          digest: await pushBlob(origin, name, config),
          size: config.length,
        },
        layers: [
          {
            mediaType: LAYER.replace('+gzip', ''),
            digest: await pushBlob(origin, name, layer),
            size: layer.length,
          },
        ],
      }),
    );
    const digest = sha256(bytes);
    t.equal((await putAt(origin, `/v2/${name}/manifests/${digest}`, bytes)).status, 201);
    manifests.push({
      mediaType: MANIFEST,
      digest,
      size: bytes.length,
      platform: { architecture, os: 'linux' },
    });
  }
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
  t.equal((await putAt(origin, `/v2/${name}/manifests/many`, index, INDEX)).status, 201);
  return sha256(index);
}

t.test('an image index goes from origin to docker-registry to another origin, unchanged', async (t) => {
  await needs(t, ['skopeo', 'docker-registry']);
  const [first, second] = [await testOrigin(t), await testOrigin(t)];
  const between = await dockerRegistry(t);
  const digest = await manyPlatforms(first, 'team/app');
  const hosts = [first, between, second].map(({ url }) => new URL(url).host);
  for (const [from, to] of [
    [hosts[0], hosts[1]],
    [hosts[1], hosts[2]],
  ]) {
    await run(
      'skopeo',
      'copy',
      '--all',
      ...PLAIN,
      `docker://${from}/team/app:many`,
      `docker://${to}/team/app:many`,
    );
  }
  for (const target of [first, between, second]) {
    const head = await ask(target, 'HEAD', '/v2/team/app/manifests/many', { headers: { accept: INDEX } });
    t.same([head.status, head.headers['docker-content-digest']], [200, digest]);
  }
  const image = `docker://${hosts[2]}/team/app`;
  t.match(JSON.parse(await run('skopeo', 'list-tags', '--tls-verify=false', image)), { Tags: ['many'] });
  const inspect = ['inspect', '--tls-verify=false', '--raw'];
  const raw = JSON.parse(await run('skopeo', ...inspect, `${image}:many`)) as { manifests: unknown[] };
  t.equal(raw.manifests.length, 2);
  await run('skopeo', 'delete', '--tls-verify=false', `${image}:many`);
  t.equal((await ask(second, 'HEAD', '/v2/team/app/manifests/many')).status, 404);
  await t.rejects(run('skopeo', ...inspect, `${image}:many`));
  t.equal((await ask(first, 'HEAD', '/v2/team/app/manifests/many')).status, 200, 'the source keeps it');
});

t.test('both sides have access control: an index and back, with the credentials of each', async (t) => {
  await needs(t, ['skopeo', 'docker-registry']);
  const open = await testOrigin(t);
  const guarded = await guardedOrigin(t);
  const docker = await dockerRegistry(t, { name: 'bob', password: 'bob-keeps-it' });
  const digest = await manyPlatforms(open, 'team/app');
  const [from, via, to] = [open, guarded, docker].map(({ url }) => `docker://${new URL(url).host}`);
  const copy = (...args: string[]): Promise<string> => run('skopeo', 'copy', '--all', ...PLAIN, ...args);
  const into = [`${from}/team/app:many`, `${via}/team/app:many`];
  await t.rejects(copy(...into), REFUSED);
  await t.rejects(copy('--dest-creds', 'ann:wrong', ...into), REFUSED);
  await copy('--dest-creds', CREDS, ...into);
  const there = [`${via}/team/app:many`, `${to}/copy/app:many`];
  await t.rejects(copy('--dest-creds', 'bob:bob-keeps-it', ...there), REFUSED);
  await copy('--src-creds', CREDS, '--dest-creds', 'bob:bob-keeps-it', ...there);
  const back = [`${to}/copy/app:many`, `${via}/back/app:many`];
  await copy('--src-creds', 'bob:bob-keeps-it', '--dest-creds', CREDS, ...back);
  const head = await ask(guarded, 'HEAD', '/v2/back/app/manifests/many', {
    headers: { accept: INDEX, ...basic(...ANN) },
  });
  t.same([head.status, head.headers['docker-content-digest']], [200, digest], 'unchanged after three copies');
  const gone = ['delete', '--tls-verify=false'];
  await t.rejects(run('skopeo', ...gone, back[1] ?? ''), REFUSED);
  await run('skopeo', ...gone, '--creds', CREDS, back[1] ?? '');
  await t.rejects(run('skopeo', 'inspect', '--tls-verify=false', '--creds', CREDS, back[1] ?? ''));
});

t.test('an artifact and what refers to it, copied to an origin with access control', async (t) => {
  await needs(t, ['skopeo']);
  const [first, second] = [await testOrigin(t), await guardedOrigin(t)];
  const image = await someImage(first, 'art', 'sha256', { artifactType: 'application/vnd.example.thing' });
  const subject = { mediaType: MANIFEST, digest: image.digest, size: image.bytes.length };
  const signature = await someImage(first, 'art', 'sha256', {
    subject,
    artifactType: 'application/vnd.example.signature',
  });
  for (const [tag, { bytes }] of [
    ['thing', image],
    ['signature', signature],
  ] as const) {
    t.equal((await putAt(first, `/v2/art/manifests/${tag}`, bytes)).status, 201);
    const [from, to] = [first, second].map(({ url }) => `docker://${new URL(url).host}/art:${tag}`);
    await run('skopeo', 'copy', ...PLAIN, '--dest-creds', CREDS, from ?? '', to ?? '');
  }
  const where = `/v2/art/referrers/${image.digest}`;
  t.equal((await ask(second, 'GET', where)).status, 401);
  const list = await ask(second, 'GET', where, { headers: basic(...ANN) });
  t.match(list.json(), {
    manifests: [{ digest: signature.digest, artifactType: 'application/vnd.example.signature' }],
  });
});

async function guardedOrigin(t: Test): Promise<TestOrigin> {
  const rules = [`subject=user:${ANN[0]} actions=*`];
  const { access } = await accessOf(await temporaryFolder(t), Object.fromEntries([ANN]), rules);
  return testOrigin(t, { access });
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
