/** Manifests (distribution-spec, "Pushing Manifests", "Pulling manifests"): end-3 and end-7, tag parameters among it. */
import t from 'tap';
import { digestOf } from '#oci';
import { INDEX, MANIFEST, testOrigin } from '../support/origin.ts';
import { ALGORITHMS, ask, putAt, someContent, someImage } from './support.ts';

for (const algorithm of ALGORITHMS) {
  t.test(`manifests by ${algorithm}`, async (t) => {
    const origin = await testOrigin(t);

    t.test('by digest: PUT, HEAD, GET, and the Location', async (t) => {
      const image = await someImage(origin, 'a', algorithm);
      const where = `/v2/a/manifests/${image.digest}`;
      for (const method of ['GET', 'HEAD'] as const) t.equal((await ask(origin, method, where)).status, 404);
      const put = await putAt(origin, where, image.bytes);
      t.same([put.status, put.headers['docker-content-digest']], [201, image.digest]);
      for (const place of [where, put.headers['location'] ?? '']) {
        for (const method of ['GET', 'HEAD'] as const) {
          const got = await ask(origin, method, place);
          t.equal(got.status, 200);
          t.match(got.headers, {
            'docker-content-digest': image.digest,
            'content-type': MANIFEST,
            'content-length': String(image.bytes.length),
          });
          t.ok(got.body.equals(method === 'GET' ? image.bytes : Buffer.alloc(0)));
        }
      }
    });

    t.test('several tags in one request', async (t) => {
      const image = await someImage(origin, 'tagged', algorithm);
      const put = await putAt(
        origin,
        `/v2/tagged/manifests/${image.digest}?tag=v1&tag=v1.2&tag=v1`,
        image.bytes,
      );
      t.equal(put.status, 201);
      t.same((put.headers['oci-tag'] ?? '').split(/, ?/), ['v1', 'v1.2'], 'each is confirmed');
      for (const tag of ['v1', 'v1.2']) {
        const got = await ask(origin, 'GET', `/v2/tagged/manifests/${tag}`);
        t.same([got.status, got.headers['docker-content-digest']], [200, image.digest]);
        t.ok(got.body.equals(image.bytes));
      }
      const list = await ask(origin, 'GET', '/v2/tagged/tags/list');
      t.same(list.json(), { name: 'tagged', tags: ['v1', 'v1.2'] });
    });

    t.test('a wrong digest stores neither the manifest nor its tags', async (t) => {
      const image = await someImage(origin, 'a', algorithm);
      const other = Buffer.concat([image.bytes, Buffer.from('  ')]);
      const answer = await putAt(origin, `/v2/a/manifests/${image.digest}?tag=wrong`, other);
      t.same([answer.status, answer.errorCode()], [400, 'DIGEST_INVALID']);
      for (const reference of [image.digest, 'wrong', digestOf(algorithm, other)]) {
        t.equal((await ask(origin, 'HEAD', `/v2/a/manifests/${reference}`)).status, 404);
      }
    });

    t.test('an index of an index, and what is missing', async (t) => {
      const image = await someImage(origin, 'nested', algorithm);
      await putAt(origin, `/v2/nested/manifests/${image.digest}`, image.bytes);
      let child = { ...image, mediaType: MANIFEST };
      for (const tag of ['inner', 'outer']) {
        const bytes = indexOf(child);
        const digest = digestOf(algorithm, bytes);
        t.equal((await putAt(origin, `/v2/nested/manifests/${digest}?tag=${tag}`, bytes, INDEX)).status, 201);
        child = { ...image, bytes, digest, mediaType: INDEX };
      }
      const missing = { ...someContent(algorithm), mediaType: MANIFEST };
      const answer = await putAt(origin, '/v2/nested/manifests/sparse', indexOf(missing), INDEX);
      t.same([answer.status, answer.errorCode()], [404, 'MANIFEST_BLOB_UNKNOWN']);
      t.equal((await putAt(origin, '/v2/nested/manifests/empty', indexOf(), INDEX)).status, 201);
    });
  });
}

t.test('a tag is pushed by sha256, and moves', async (t) => {
  const origin = await testOrigin(t);
  for (const image of [await someImage(origin, 'a', 'sha256'), await someImage(origin, 'a', 'sha256')]) {
    const put = await putAt(origin, '/v2/a/manifests/latest', image.bytes);
    t.same([put.status, put.headers['docker-content-digest']], [201, image.digest]);
    t.equal(
      (await ask(origin, 'HEAD', '/v2/a/manifests/latest')).headers['docker-content-digest'],
      image.digest,
    );
  }
});

t.test('tag parameters that cannot be', async (t) => {
  const origin = await testOrigin(t);
  const { bytes, digest } = await someImage(origin, 'a', 'sha256');
  const many = Array.from({ length: 101 }, (_, index) => `tag=t${index}`).join('&');
  for (const [where, status] of [
    [`${digest}?tag=-bad`, 400],
    [`${digest}?tag=`, 400],
    ['latest?tag=v1', 400],
    [`${digest}?${many}`, 414],
  ] as const) {
    const answer = await putAt(origin, `/v2/a/manifests/${where}`, bytes);
    t.same([answer.status, answer.errorCode()], [status, 'TAG_INVALID'], where.slice(-20));
  }
  t.equal((await ask(origin, 'HEAD', `/v2/a/manifests/${digest}`)).status, 404, 'nothing was stored');
});

t.test('a manifest of 4 MiB is taken, with fields that nobody knows', async (t) => {
  const origin = await testOrigin(t);
  const annotations = Object.fromEntries(
    Array.from({ length: 390 }, (_, index) => [`large-${index}`, 'A'.repeat(10_000)]),
  );
  const image = await someImage(origin, 'a', 'sha256', { annotations, 'org.example.custom': { deep: [1] } });
  t.equal((await putAt(origin, '/v2/a/manifests/large', image.bytes)).status, 201);
  t.ok((await ask(origin, 'GET', '/v2/a/manifests/large')).body.equals(image.bytes));
});

t.test('layers that are not distributed need not be there; other layers must', async (t) => {
  const origin = await testOrigin(t);
  const missing = someContent('sha256');
  const layer = (mediaType: string) => ({ layers: [{ mediaType, digest: missing.digest, size: 512 }] });
  const foreign = await someImage(
    origin,
    'a',
    'sha256',
    layer('application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'),
  );
  t.equal((await putAt(origin, '/v2/a/manifests/foreign', foreign.bytes)).status, 201);
  const sparse = await someImage(origin, 'a', 'sha256', layer('application/vnd.oci.image.layer.v1.tar+gzip'));
  const answer = await putAt(origin, '/v2/a/manifests/sparse', sparse.bytes);
  t.same([answer.status, answer.errorCode()], [404, 'MANIFEST_BLOB_UNKNOWN']);
  const none = await someImage(origin, 'a', 'sha256', { layers: [] });
  t.equal((await putAt(origin, '/v2/a/manifests/no-layers', none.bytes)).status, 201);
});

function indexOf(child?: { bytes: Buffer; digest: string; mediaType: string }): Buffer {
  const manifests = child
    ? [{ mediaType: child.mediaType, digest: child.digest, size: child.bytes.length }]
    : [];
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
}
