/** Pull (distribution-spec, "Pull"; RFC 9110, section 14): end-1, end-2, end-3, of the origin and of an agent's mirror. */
import t from 'tap';
import { agentHere } from '../support/in-process.ts';
import { MANIFEST, testOrigin } from '../support/origin.ts';
import { ALGORITHMS, ask, pushContent, putAt, someContent, someImage } from './support.ts';

for (const reader of ['origin', 'agent'] as const) {
  for (const algorithm of ALGORITHMS) {
    t.test(`${reader}, ${algorithm}`, async (t) => {
      const origin = await testOrigin(t);
      const target = reader === 'origin' ? origin : await agentHere(t, [origin.url]);

      t.test('end-1', async (t) => {
        for (const where of ['/v2/', '/v2']) {
          const answer = await ask(target, 'GET', where);
          t.equal(answer.status, 200);
          t.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0');
        }
      });

      // The second is of several pieces, so that an agent takes it from the swarm.
      for (const size of [700, 1_300_000]) {
        t.test(`end-2: a blob of ${size} bytes`, async (t) => {
          const blob = someContent(algorithm, size);
          const where = `/v2/a/blobs/${blob.digest}`;
          for (const method of ['GET', 'HEAD'] as const) {
            t.equal((await ask(target, method, where)).status, 404);
          }
          await pushContent(origin, 'a', blob);
          const head = await ask(target, 'HEAD', where);
          const got = await ask(target, 'GET', where);
          for (const answer of [head, got]) {
            t.equal(answer.status, 200);
            t.match(answer.headers, {
              'docker-content-digest': blob.digest,
              'content-length': String(size),
              'accept-ranges': 'bytes',
            });
          }
          t.ok(got.body.equals(blob.bytes));

          for (const [range, start, end] of [
            ['bytes=0-99', 0, 100],
            ['bytes=100-', 100, size],
            ['bytes=-10', size - 10, size],
            [`bytes=-${size + 1}`, 0, size],
            [`bytes=600-${size + 600}`, 600, size],
          ] as const) {
            const part = await ask(target, 'GET', where, { headers: { range } });
            t.equal(part.status, 206, range);
            t.equal(part.headers['content-range'], `bytes ${start}-${end - 1}/${size}`);
            t.equal(part.headers['docker-content-digest'], blob.digest);
            t.ok(part.body.equals(blob.bytes.subarray(start, end)));
          }
          for (const range of [
            `bytes=${size}-`,
            `bytes=${size + 1}-${size + 9}`,
            'bytes=500-0',
            'bytes=-0',
          ]) {
            const refused = await ask(target, 'GET', where, { headers: { range } });
            t.same([refused.status, refused.headers['content-range']], [416, `bytes */${size}`], range);
          }
          const several = await ask(target, 'GET', where, { headers: { range: 'bytes=0-1,5-6' } });
          t.same([several.status, several.errorCode()], [400, 'RANGE_INVALID'], 'one range a request');
          for (const range of ['bytes=0-1', `bytes=${size}-`]) {
            const whole = await ask(target, 'HEAD', where, { headers: { range } });
            t.same(
              [whole.status, whole.headers['content-length']],
              [200, String(size)],
              'a HEAD has no range',
            );
          }
          const condition = async (headers: Record<string, string>) => {
            const answer = await ask(target, 'GET', where, { headers });
            return [answer.status, answer.headers['docker-content-digest']];
          };
          const etag = got.headers['etag'] ?? '';
          t.same(await condition({ range: 'bytes=0-1', 'if-range': etag }), [206, blob.digest]);
          t.same(await condition({ range: 'bytes=0-1', 'if-range': '"x"' }), [200, blob.digest]);
          t.same(await condition({ 'if-none-match': etag }), [304, blob.digest]);
        });
      }

      t.test('end-3: a manifest by digest and by tag', async (t) => {
        const image = await someImage(origin, 'm', algorithm);
        for (const reference of [image.digest, 'v1']) {
          const answer = await ask(target, 'GET', `/v2/m/manifests/${reference}`);
          t.same([answer.status, answer.errorCode()], [404, 'MANIFEST_UNKNOWN']);
        }
        await putAt(origin, `/v2/m/manifests/${image.digest}?tag=v1`, image.bytes);
        for (const reference of [image.digest, 'v1']) {
          for (const method of ['HEAD', 'GET'] as const) {
            const answer = await ask(target, method, `/v2/m/manifests/${reference}`, {
              headers: { accept: MANIFEST },
            });
            t.same(
              [answer.status, answer.headers['docker-content-digest'], answer.headers['content-type']],
              [200, image.digest, MANIFEST],
              `${method} ${reference}`,
            );
            t.equal(answer.headers['content-length'], String(image.bytes.length));
            if (method === 'GET') t.ok(answer.body.equals(image.bytes));
          }
        }
        const same = await ask(target, 'GET', `/v2/m/manifests/v1`, {
          headers: { 'if-none-match': `"${image.digest}"` },
        });
        t.same([same.status, same.headers['docker-content-digest']], [304, image.digest]);
      });

      t.test('registry proxying: ?ns= is answered by OCI-Namespace', async (t) => {
        const blob = someContent(algorithm);
        await pushContent(origin, 'docker.io/library/app', blob);
        const answer = await ask(target, 'GET', `/v2/library/app/blobs/${blob.digest}?ns=docker.io`);
        t.same([answer.status, answer.headers['oci-namespace']], [200, 'docker.io']);
        t.ok(answer.body.equals(blob.bytes));
      });

      t.test('errors come in the envelope', async (t) => {
        for (const [where, status, code] of [
          ['/v2/a/blobs/sha256:no', 400, 'DIGEST_INVALID'],
          [`/v2/a/blobs/${algorithm}:${'A'.repeat(64)}`, 400, 'DIGEST_INVALID'],
          [`/v2/UPPER/blobs/${someContent(algorithm).digest}`, 400, 'NAME_INVALID'],
          ['/v2/a/manifests/.bad', 400, 'TAG_INVALID'],
          ['/v2/a/nonsense', 404, 'UNSUPPORTED'],
        ] as const) {
          const answer = await ask(target, 'GET', where);
          t.same([answer.status, answer.errorCode()], [status, code], where.slice(0, 40));
          t.match(answer.headers['content-type'], /^application\/json/);
        }
      });
    });
  }
}
