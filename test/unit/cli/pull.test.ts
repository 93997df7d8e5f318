import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import path from 'node:path';
import t, { type Test } from 'tap';
import { parseImageReference, parseRange } from '#oci';
import { pullImage } from '../../../src/cli/image.ts';
import { openLayout } from '../../../src/cli/layout.ts';
import { openRegistry } from '../../../src/cli/registry.ts';
import { listenHere } from '../../support/listen.ts';

/** A registry that serves one image and can misbehave; only what a puller sees is real here. */
interface Fixture {
  readonly url: string;
  readonly layer: Buffer;
  readonly digest: string;
  /** Range headers of the layer's requests, in order. */
  readonly ranges: (string | undefined)[];
  /** Answers a layer request; false to answer normally. */
  misbehave: (request: IncomingMessage, response: ServerResponse, count: number) => boolean;
}

const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const image = parseImageReference('sample/app:v1');

async function serve(t: Test): Promise<Fixture> {
  const layer = randomBytes(700_000);
  const config = Buffer.from('{"architecture":"amd64","os":"linux"}');
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: sha256(config),
        size: config.length,
      },
      layers: [
        { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: sha256(layer), size: layer.length },
      ],
    }),
  );
  const entry = { mediaType: MANIFEST, digest: sha256(manifest), size: manifest.length };
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: INDEX,
      manifests: [
        { ...entry, platform: { os: 'linux', architecture: 'amd64' } },
        { ...entry, platform: { os: 'unknown', architecture: 'unknown' } },
      ],
    }),
  );
  const fixture = {
    layer,
    digest: sha256(layer),
    ranges: [] as (string | undefined)[],
    misbehave: () => false,
  };
  const bodies = new Map([
    ['/v2/sample/app/manifests/v1', { type: MANIFEST, bytes: manifest }],
    [`/v2/sample/app/manifests/${sha256(manifest)}`, { type: MANIFEST, bytes: manifest }],
    ['/v2/sample/app/manifests/many', { type: INDEX, bytes: index }],
    [`/v2/sample/app/blobs/${sha256(config)}`, { type: 'application/octet-stream', bytes: config }],
    [`/v2/sample/app/blobs/${sha256(layer)}`, { type: 'application/octet-stream', bytes: layer }],
  ]);
  const served: Fixture = Object.assign(fixture, { url: '' });
  const server = createServer((request, response) => {
    const body = bodies.get(request.url ?? '');
    if (!body) {
      response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
      return;
    }
    if (body.bytes === layer) {
      fixture.ranges.push(request.headers.range);
      if (served.misbehave(request, response, fixture.ranges.length)) return;
    }
    const range = parseRange(request.headers.range, body.bytes.length);
    if (typeof range === 'object') {
      const { start, end } = range;
      response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${body.bytes.length}` });
      response.end(body.bytes.subarray(start, end + 1));
      return;
    }
    response
      .writeHead(200, { 'content-type': body.type, 'content-length': body.bytes.length })
      .end(body.bytes);
  });
  return Object.assign(served, { url: await listenHere(t, server) });
}

async function open(t: Test, fixture: Fixture) {
  const registry = await openRegistry(fixture.url);
  t.teardown(() => registry.close());
  return registry;
}

t.test('an image becomes a valid layout, and a second pull receives nothing', async (t) => {
  const fixture = await serve(t);
  const registry = await open(t, fixture);
  const folder = t.testdir();
  const layout = await openLayout(folder);
  const first = await pullImage({ registry, image, platform: 'linux/amd64', layout });
  await layout.name(
    { mediaType: MANIFEST, digest: first.image.digest, size: first.image.bytes.length },
    'v1',
  );
  t.equal(first.received, first.size);
  t.ok((await readFile(path.join(folder, 'blobs/sha256', fixture.digest.slice(7)))).equals(fixture.layer));
  const again = await pullImage({ registry, image, platform: 'linux/amd64', layout });
  t.equal(again.received, 0);
  const index = JSON.parse(await readFile(path.join(folder, 'index.json'), 'utf8'));
  t.match(index.manifests, [
    { digest: first.image.digest, annotations: { 'org.opencontainers.image.ref.name': 'v1' } },
  ]);
  t.match(JSON.parse(await readFile(path.join(folder, 'oci-layout'), 'utf8')), {
    imageLayoutVersion: '1.0.0',
  });
  t.notOk(
    (await readdir(path.join(folder, 'blobs/sha256'))).some((name) => name.includes('.')),
    'nothing half is left',
  );
});

t.test('a half-written blob is continued by a range', async (t) => {
  const fixture = await serve(t);
  const folder = t.testdir();
  const partial = path.join(folder, 'blobs/sha256', `${fixture.digest.slice(7)}.partial`);
  mkdirSync(path.dirname(partial), { recursive: true });
  writeFileSync(partial, fixture.layer.subarray(0, 300_000));
  const layout = await openLayout(folder);
  const pulled = await pullImage({
    registry: await open(t, fixture),
    image,
    platform: 'linux/amd64',
    layout,
  });
  t.strictSame(fixture.ranges, ['bytes=300000-']);
  t.equal(pulled.received, pulled.size - 300_000);
});

t.test('a half-written blob with wrong bytes fails once and then starts anew', async (t) => {
  const fixture = await serve(t);
  const folder = t.testdir();
  const partial = path.join(folder, 'blobs/sha256', `${fixture.digest.slice(7)}.partial`);
  mkdirSync(path.dirname(partial), { recursive: true });
  writeFileSync(partial, randomBytes(300_000));
  const layout = await openLayout(folder);
  const registry = await open(t, fixture);
  await t.rejects(pullImage({ registry, image, platform: 'linux/amd64', layout }), /not sha256:/);
  await pullImage({ registry, image, platform: 'linux/amd64', layout });
  t.strictSame(fixture.ranges, ['bytes=300000-', undefined]);
});

t.test('a cut connection is resumed where it broke', async (t) => {
  const fixture = await serve(t);
  fixture.misbehave = (_request, response, count) => {
    if (count > 1) return false;
    response.writeHead(200, { 'content-length': fixture.layer.length });
    response.write(fixture.layer.subarray(0, 200_000), () => response.destroy());
    return true;
  };
  await pullImage({ registry: await open(t, fixture), image, platform: 'linux/amd64' });
  t.equal(fixture.ranges.length, 2);
  t.match(fixture.ranges[1], /^bytes=[1-9]\d*-$/);
});

t.test('a server that ignores Range makes the blob start again', async (t) => {
  const fixture = await serve(t);
  fixture.misbehave = (_request, response, count) => {
    response.writeHead(200, { 'content-length': fixture.layer.length });
    if (count === 1) response.write(fixture.layer.subarray(0, 200_000), () => response.destroy());
    else response.end(fixture.layer);
    return true;
  };
  await pullImage({ registry: await open(t, fixture), image, platform: 'linux/amd64' });
  t.equal(fixture.ranges.length, 2);
});

t.test('wrong bytes are refused', async (t) => {
  const fixture = await serve(t);
  fixture.misbehave = (_request, response) => {
    response.end(randomBytes(fixture.layer.length));
    return true;
  };
  await t.rejects(
    pullImage({ registry: await open(t, fixture), image, platform: 'linux/amd64' }),
    new RegExp(`not ${fixture.digest}`),
  );
});

t.test('a refusal is not tried again and shows the reason', async (t) => {
  const fixture = await serve(t);
  fixture.misbehave = (_request, response) => {
    response.writeHead(404).end('{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}');
    return true;
  };
  const registry = await open(t, fixture);
  await t.rejects(pullImage({ registry, image, platform: 'linux/amd64' }), /404, blob unknown to registry/);
  t.equal(fixture.ranges.length, 1);
  await t.rejects(
    pullImage({ registry, image: parseImageReference('sample/app:none'), platform: 'linux/amd64' }),
    /manifest none: the server answered 404, manifest unknown/,
  );
});

t.test('an index gives the image of the platform, and names the others', async (t) => {
  const fixture = await serve(t);
  const registry = await open(t, fixture);
  const many = parseImageReference('sample/app:many');
  t.equal((await pullImage({ registry, image: many, platform: 'linux/amd64' })).blobs.length, 2);
  await t.rejects(
    pullImage({ registry, image: many, platform: 'linux/s390x' }),
    /no linux\/s390x.*: linux\/amd64$/,
  );
});
