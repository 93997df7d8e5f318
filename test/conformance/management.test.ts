/** Content management (distribution-spec, "Content Management"): end-9 and end-10; what is deleted is gone at once. */
import t from 'tap';
import { testOrigin } from '../support/origin.ts';
import { ALGORITHMS, ask, pushContent, putAt, someContent, someImage } from './support.ts';

for (const algorithm of ALGORITHMS) {
  t.test(`deletion by ${algorithm}`, async (t) => {
    const origin = await testOrigin(t);
    const image = await someImage(origin, 'a', algorithm);
    const gone = async (where: string, code: string): Promise<void> => {
      for (const method of ['GET', 'HEAD', 'DELETE'] as const) {
        const answer = await ask(origin, method, where);
        t.equal(answer.status, 404, `${method} ${where}`);
        if (method !== 'HEAD') t.equal(answer.errorCode(), code);
      }
    };
    await putAt(origin, `/v2/a/manifests/${image.digest}?tag=v1&tag=v2&tag=v3`, image.bytes);

    const untagged = await ask(origin, 'DELETE', '/v2/a/manifests/v1');
    t.same([untagged.status, untagged.headers['docker-content-digest']], [202, image.digest]);
    await gone('/v2/a/manifests/v1', 'MANIFEST_UNKNOWN');
    t.equal((await ask(origin, 'HEAD', `/v2/a/manifests/${image.digest}`)).status, 200);
    t.same((await ask(origin, 'GET', '/v2/a/tags/list')).json(), { name: 'a', tags: ['v2', 'v3'] });

    const deleted = await ask(origin, 'DELETE', `/v2/a/manifests/${image.digest}`);
    t.same([deleted.status, deleted.headers['docker-content-digest']], [202, image.digest]);
    for (const reference of [image.digest, 'v2', 'v3']) {
      await gone(`/v2/a/manifests/${reference}`, 'MANIFEST_UNKNOWN');
    }
    t.same((await ask(origin, 'GET', '/v2/a/tags/list')).json(), { name: 'a', tags: [] });

    for (const blob of image.blobs) {
      const taken = await ask(origin, 'DELETE', `/v2/a/blobs/${blob.digest}`);
      t.same([taken.status, taken.headers['docker-content-digest']], [202, blob.digest]);
      await gone(`/v2/a/blobs/${blob.digest}`, 'BLOB_UNKNOWN');
      await pushContent(origin, 'a', blob);
      t.ok((await ask(origin, 'GET', `/v2/a/blobs/${blob.digest}`)).body.equals(blob.bytes), 'and back');
    }
    await gone(`/v2/a/blobs/${someContent(algorithm).digest}`, 'BLOB_UNKNOWN');
  });
}

t.test('one repository deletes what another keeps', async (t) => {
  const origin = await testOrigin(t);
  const blob = someContent('sha512');
  for (const name of ['a', 'b']) await pushContent(origin, name, blob);
  await ask(origin, 'DELETE', `/v2/a/blobs/${blob.digest}`);
  t.equal((await ask(origin, 'HEAD', `/v2/a/blobs/${blob.digest}`)).status, 404);
  t.ok((await ask(origin, 'GET', `/v2/b/blobs/${blob.digest}`)).body.equals(blob.bytes));
});
