/** Manifests, indexes, tags, referrers and the catalogue. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { Readable } from 'node:stream';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import {
  call,
  INDEX,
  imageOf,
  LAYER,
  MANIFEST,
  pushBlob,
  putManifest,
  testOrigin,
} from '../support/origin.ts';

const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';

t.test('a manifest by tag and by digest', async (t) => {
  const origin = await testOrigin(t);
  const manifest = await imageOf(origin, 'library/app', [randomBytes(1000)]);
  const digest = sha256DigestOf(manifest);
  const pushed = await putManifest(origin, 'library/app', 'v1', manifest);
  t.equal(pushed.status, 201);
  t.match(pushed.headers, {
    location: `/v2/library/app/manifests/${digest}`,
    'docker-content-digest': digest,
  });
  for (const reference of ['v1', digest]) {
    for (const method of ['GET', 'HEAD'] as const) {
      const answer = await origin.call(method, `/v2/library/app/manifests/${reference}`);
      t.equal(answer.status, 200);
      t.match(answer.headers, {
        'content-type': MANIFEST,
        'content-length': String(manifest.length),
        'docker-content-digest': digest,
        etag: `"${digest}"`,
      });
      t.ok(answer.body.equals(method === 'GET' ? manifest : Buffer.alloc(0)));
    }
  }
  const known = await origin.call('GET', '/v2/library/app/manifests/v1', {
    headers: { 'if-none-match': `"${digest}"` },
  });
  t.equal(known.status, 304);
  t.equal((await putManifest(origin, 'library/app', digest, manifest)).status, 201);
  const wrong = await putManifest(origin, 'library/app', sha256DigestOf(Buffer.from('x')), manifest);
  t.same([wrong.status, wrong.errorCode()], [400, 'DIGEST_INVALID']);
  const other = await origin.call('GET', '/v2/library/other/manifests/v1');
  t.same([other.status, other.errorCode()], [404, 'MANIFEST_UNKNOWN']);
  const mirrored = await origin.call('GET', `/v2/library/app/manifests/v1?ns=docker.io`);
  t.same([mirrored.status, mirrored.headers['oci-namespace']], [200, 'docker.io']);
  t.equal((await origin.call('GET', `/v2/docker.io/library/app/manifests/v1`)).status, 200);
});

t.test('docker and OCI media types, images and indexes', async (t) => {
  const origin = await testOrigin(t);
  const oci = await imageOf(origin, 'a', [randomBytes(10)]);
  const docker = Buffer.from(oci.toString().replace(MANIFEST, DOCKER_MANIFEST));
  t.equal((await putManifest(origin, 'a', 'oci', oci)).status, 201);
  t.equal((await putManifest(origin, 'a', 'docker', docker, DOCKER_MANIFEST)).status, 201);
  for (const [mediaType, child, childType] of [
    [INDEX, oci, MANIFEST],
    [DOCKER_LIST, docker, DOCKER_MANIFEST],
  ] as const) {
    const index = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType,
        manifests: [
          {
            mediaType: childType,
            digest: sha256DigestOf(child),
            size: child.length,
            platform: { os: 'linux', architecture: 'amd64' },
          },
        ],
      }),
    );
    t.equal((await putManifest(origin, 'a', 'multi', index, mediaType)).status, 201);
    const answer = await origin.call('GET', '/v2/a/manifests/multi');
    t.equal(answer.headers['content-type'], mediaType);
    t.ok(answer.body.equals(index));
  }
});

t.test('what a manifest refers to must be in the repository', async (t) => {
  const origin = await testOrigin(t);
  const manifest = await imageOf(origin, 'a', [randomBytes(10)]);
  const elsewhere = await putManifest(origin, 'b', 'v1', manifest);
  t.same([elsewhere.status, elsewhere.errorCode()], [404, 'MANIFEST_BLOB_UNKNOWN']);
  const parsed = JSON.parse(manifest.toString()) as {
    config: { digest: string };
    layers: { digest: string }[];
  };
  const digests = [parsed.config.digest, parsed.layers[0]?.digest];
  t.match(elsewhere.json(), { errors: [{ detail: { missing: digests } }] });
  t.equal((await origin.call('GET', '/v2/b/manifests/v1')).status, 404);
  const index = JSON.stringify({
    schemaVersion: 2,
    mediaType: INDEX,
    manifests: [{ mediaType: MANIFEST, digest: sha256DigestOf(manifest), size: manifest.length }],
  });
  const early = await putManifest(origin, 'a', 'multi', index, INDEX);
  t.same([early.status, early.errorCode()], [404, 'MANIFEST_BLOB_UNKNOWN']);
  const foreign = {
    mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    digest: sha256DigestOf(Buffer.from('windows')),
    size: 7,
    urls: ['https://example.test/layer'],
  };
  const withForeign = JSON.parse((await imageOf(origin, 'a', [])).toString()) as { layers: unknown[] };
  withForeign.layers = [foreign];
  t.equal((await putManifest(origin, 'a', 'foreign', JSON.stringify(withForeign))).status, 201);
});

t.test('a manifest that is too large is refused without being read', async (t) => {
  const origin = await testOrigin(t);
  const large = Buffer.alloc(4 * 1024 * 1024 + 1, ' ');
  for (const body of [large, Readable.from([large, large])]) {
    const answer = await origin.call('PUT', '/v2/a/manifests/v1', {
      headers: { 'content-type': MANIFEST },
      body,
    });
    t.same([answer.status, answer.errorCode()], [413, 'SIZE_INVALID']);
  }
  const socket = net.connect(origin.origin.address.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(
    `PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: ${MANIFEST}\r\nContent-Length: 99999999\r\n\r\n{`,
  );
  const [head] = (await once(socket, 'data')) as [Buffer];
  t.match(head.toString(), /^HTTP\/1\.1 413 /, 'answered while the body is still to come');
  socket.destroy();
});

t.test('what is no manifest is refused', async (t) => {
  const origin = await testOrigin(t);
  const manifest = (await imageOf(origin, 'a', [])).toString();
  for (const [body, mediaType] of [
    ['', MANIFEST],
    ['not json', MANIFEST],
    ['[]', MANIFEST],
    ['{"schemaVersion":1}', 'application/vnd.docker.distribution.manifest.v1+json'],
    ['{"schemaVersion":2,"layers":[]}', MANIFEST],
    [manifest, DOCKER_MANIFEST],
    [manifest, 'text/html'],
    [JSON.stringify({ ...JSON.parse(manifest), manifests: [] }), MANIFEST],
  ] as const) {
    const answer = await putManifest(origin, 'a', 'v1', body, mediaType);
    t.same([answer.status, answer.errorCode()], [400, 'MANIFEST_INVALID'], `${mediaType}: ${body}`);
  }
  for (const [reference, code] of [
    ['-bad', 'TAG_INVALID'],
    ['a'.repeat(129), 'TAG_INVALID'],
    ['sha256:1234', 'DIGEST_INVALID'],
  ] as const) {
    const answer = await putManifest(origin, 'a', reference, manifest);
    t.same([answer.status, answer.errorCode()], [400, code], reference);
  }
  const cut = net.connect(origin.origin.address.port, '127.0.0.1');
  await once(cut, 'connect');
  cut.end(
    `PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: ${MANIFEST}\r\nContent-Length: ${manifest.length + 9}\r\n\r\n${manifest}`,
  );
  cut.resume();
  await once(cut, 'close');
  t.equal((await origin.call('GET', '/v2/a/manifests/v1')).status, 404);
});

t.test('deletion of a tag, and of a manifest', async (t) => {
  const origin = await testOrigin(t);
  const manifest = await imageOf(origin, 'a', []);
  const digest = sha256DigestOf(manifest);
  for (const tag of ['v1', 'v2', 'latest']) await putManifest(origin, 'a', tag, manifest);
  t.equal((await origin.call('DELETE', '/v2/a/manifests/v1')).status, 202);
  t.same((await origin.call('GET', '/v2/a/tags/list')).json(), { name: 'a', tags: ['latest', 'v2'] });
  t.equal((await origin.call('GET', `/v2/a/manifests/${digest}`)).status, 200);
  t.equal((await origin.call('DELETE', `/v2/a/manifests/${digest}`)).status, 202);
  t.same((await origin.call('GET', '/v2/a/tags/list')).json(), { name: 'a', tags: [] });
  for (const reference of ['v1', digest]) {
    const answer = await origin.call('DELETE', `/v2/a/manifests/${reference}`);
    t.same([answer.status, answer.errorCode()], [404, 'MANIFEST_UNKNOWN']);
  }
});

t.test('tags and catalogue, a page at a time', async (t) => {
  const origin = await testOrigin(t);
  const manifest = await imageOf(origin, 'a', []);
  const tags = ['1.0', 'alpha', 'Beta', 'gamma'];
  for (const tag of [...tags].reverse()) await putManifest(origin, 'a', tag, manifest);
  const seen: string[] = [];
  let next: string | undefined = '/v2/a/tags/list?n=3';
  let pages = 0;
  for (; next !== undefined; pages += 1) {
    const answer = await origin.call('GET', next);
    seen.push(...(answer.json() as { tags: string[] }).tags);
    next = /^<(\/v2\/a\/tags\/list\?[^>]+)>; rel="next"$/.exec(answer.headers['link'] ?? '')?.[1];
  }
  t.same([seen, pages], [tags, 2]);
  const none = await origin.call('GET', '/v2/a/tags/list?n=0');
  t.same([none.json(), none.headers['link']], [{ name: 'a', tags: [] }, undefined]);
  t.same((await origin.call('GET', '/v2/a/tags/list?last=alpha')).json(), {
    name: 'a',
    tags: ['Beta', 'gamma'],
  });

  for (const name of ['z/y', 'b']) await pushBlob(origin, name, Buffer.from('x'));
  const first = await origin.call('GET', '/v2/_catalog?n=2');
  t.same(first.json(), { repositories: ['a', 'b'] });
  t.equal(first.headers['link'], '</v2/_catalog?n=2&last=b>; rel="next"');
  t.same((await origin.call('GET', '/v2/_catalog?n=2&last=b')).json(), { repositories: ['z/y'] });
  t.same((await origin.call('GET', '/v2/_catalog')).json(), { repositories: ['a', 'b', 'z/y'] });

  const unknown = await origin.call('GET', '/v2/nope/tags/list');
  t.same([unknown.status, unknown.errorCode()], [404, 'NAME_UNKNOWN']);
  for (const n of ['-1', 'x', '1.5', '']) {
    for (const where of ['/v2/a/tags/list', '/v2/_catalog']) {
      const answer = await origin.call('GET', `${where}?n=${n}`);
      t.same([answer.status, answer.errorCode()], [400, 'PAGINATION_NUMBER_INVALID'], `${where} ${n}`);
    }
  }
});

t.test('referrers', async (t) => {
  const origin = await testOrigin(t);
  const image = await imageOf(origin, 'a', []);
  const subject = { mediaType: MANIFEST, digest: sha256DigestOf(image), size: image.length };
  const empty = await origin.call('GET', `/v2/a/referrers/${subject.digest}`);
  t.same(empty.json(), { schemaVersion: 2, mediaType: INDEX, manifests: [] });
  t.same([empty.status, empty.headers['content-type']], [200, INDEX]);

  const sbom = await imageOf(origin, 'a', [], {
    subject,
    artifactType: 'application/spdx',
    annotations: { by: 'test' },
  });
  const plain = await imageOf(origin, 'a', [Buffer.from('s')], { subject });
  for (const referrer of [sbom, plain]) {
    const answer = await putManifest(origin, 'a', sha256DigestOf(referrer), referrer);
    t.same([answer.status, answer.headers['oci-subject']], [201, subject.digest]);
  }
  const all = (await origin.call('GET', `/v2/a/referrers/${subject.digest}`)).json() as {
    manifests: { digest: string }[];
  };
  t.same(
    all.manifests.map((entry) => entry.digest),
    [sbom, plain].map((bytes) => sha256DigestOf(bytes)).sort(),
  );
  const filtered = await origin.call(
    'GET',
    `/v2/a/referrers/${subject.digest}?artifactType=${encodeURIComponent('application/spdx')}`,
  );
  t.equal(filtered.headers['oci-filters-applied'], 'artifactType');
  t.same((filtered.json() as { manifests: unknown[] }).manifests, [
    {
      mediaType: MANIFEST,
      digest: sha256DigestOf(sbom),
      size: sbom.length,
      artifactType: 'application/spdx',
      annotations: { by: 'test' },
    },
  ]);
  const config = encodeURIComponent('application/vnd.oci.image.config.v1+json');
  const byConfig = await origin.call('GET', `/v2/a/referrers/${subject.digest}?artifactType=${config}`);
  t.match(byConfig.json(), { manifests: [{ digest: sha256DigestOf(plain) }] });
  const bad = await origin.call('GET', '/v2/a/referrers/sha256:no');
  t.same([bad.status, bad.errorCode()], [400, 'DIGEST_INVALID']);
  t.equal((await call('GET', `${origin.url}/v2/a/blobs/${LAYER}`)).status, 404);
});
