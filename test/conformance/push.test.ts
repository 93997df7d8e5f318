/** Push (distribution-spec, "Push"): end-4 to end-7 and end-11, by both digest algorithms. */
import t from 'tap';
import { digestOf } from '#oci';
import { testOrigin } from '../support/origin.ts';
import { ALGORITHMS, ask, closing, pushContent, someContent, startUpload } from './support.ts';

for (const algorithm of ALGORITHMS) {
  t.test(`blobs by ${algorithm}`, async (t) => {
    const origin = await testOrigin(t);
    const begin = (): Promise<string> => startUpload(origin, 'a', `?digest-algorithm=${algorithm}`);
    const arrived = async (
      answer: { status: number; headers: Readonly<Record<string, string>> },
      { bytes, digest }: ReturnType<typeof someContent>,
    ): Promise<void> => {
      t.equal(answer.status, 201);
      t.equal(answer.headers['docker-content-digest'], digest);
      const pulled = await ask(origin, 'GET', answer.headers['location'] ?? '');
      t.same([pulled.status, pulled.headers['docker-content-digest']], [200, digest]);
      t.ok(pulled.body.equals(bytes), 'the location of a 201 can be fetched');
    };

    t.test('end-4b: POST alone', async () => {
      const blob = someContent(algorithm);
      const where = `/v2/a/blobs/uploads/?digest=${blob.digest}`;
      await arrived(await ask(origin, 'POST', where, { body: blob.bytes }), blob);
      await arrived(await ask(origin, 'POST', where, { body: blob.bytes }), blob);
    });

    t.test('end-4a and end-6: POST, then PUT', async () => {
      const blob = someContent(algorithm);
      const where = closing(origin, await begin(), blob.digest);
      await arrived(await ask(origin, 'PUT', where, { body: blob.bytes }), blob);
    });

    t.test('the algorithm need not be announced', async () => {
      const blob = someContent(algorithm, 5000);
      const where = closing(origin, await startUpload(origin, 'a'), blob.digest);
      await arrived(await ask(origin, 'PUT', where, { body: blob.bytes }), blob);
    });

    t.test('end-5: a stream without Content-Range', async () => {
      const blob = someContent(algorithm);
      const patched = await ask(origin, 'PATCH', await begin(), { body: blob.bytes });
      t.same([patched.status, patched.headers['range']], [202, '0-511']);
      const where = closing(origin, patched.headers['location'] ?? '', blob.digest);
      await arrived(await ask(origin, 'PUT', where), blob);
    });

    for (const last of ['PATCH', 'PUT'] as const) {
      t.test(`chunks in order, the last by ${last}; those out of order are refused`, async (t) => {
        const blob = someContent(algorithm, 3000);
        let location = await begin();
        for (const start of [0, 1000, 2000]) {
          const wrong = start === 2000 ? 0 : start + 1000;
          const method = last === 'PUT' && wrong === 2000 ? 'PUT' : 'PATCH';
          const refused = await ask(
            origin,
            method,
            method === 'PUT' ? closing(origin, location, blob.digest) : location,
            {
              headers: { 'content-range': `${wrong}-${wrong + 999}` },
              body: blob.bytes.subarray(wrong, wrong + 1000),
            },
          );
          t.same(
            [refused.status, refused.headers['range'], refused.errorCode()],
            [416, `0-${Math.max(0, start - 1)}`, 'RANGE_INVALID'],
          );
          // end-13
          const state = await ask(origin, 'GET', refused.headers['location'] ?? '');
          t.same([state.status, state.headers['range']], [204, `0-${Math.max(0, start - 1)}`]);
          location = state.headers['location'] ?? '';
          const final = last === 'PUT' && start === 2000;
          const taken = await ask(
            origin,
            final ? 'PUT' : 'PATCH',
            final ? closing(origin, location, blob.digest) : location,
            {
              headers: { 'content-range': `${start}-${start + 999}` },
              body: blob.bytes.subarray(start, start + 1000),
            },
          );
          if (final) return arrived(taken, blob);
          t.same([taken.status, taken.headers['range']], [202, `0-${start + 999}`]);
          location = taken.headers['location'] ?? '';
        }
        return arrived(await ask(origin, 'PUT', closing(origin, location, blob.digest)), blob);
      });
    }

    t.test('an upload goes on after a restart', async (t) => {
      const before = await testOrigin(t);
      const blob = someContent(algorithm, 2000);
      const location = await startUpload(before, 'a', `?digest-algorithm=${algorithm}`);
      await ask(before, 'PATCH', location, { body: blob.bytes.subarray(0, 900) });
      const after = await before.restart();
      const where = closing(after, location, blob.digest);
      const put = await ask(after, 'PUT', where, {
        headers: { 'content-range': '900-1999' },
        body: blob.bytes.subarray(900),
      });
      t.equal(put.status, 201);
      t.ok((await ask(after, 'GET', `/v2/a/blobs/${blob.digest}`)).body.equals(blob.bytes));
    });

    t.test('end-11: mount', async (t) => {
      const blob = someContent(algorithm);
      await pushContent(origin, 'source', blob);
      const query = `?mount=${blob.digest}&from=source`;
      await arrived(await ask(origin, 'POST', `/v2/target/blobs/uploads/${query}`), blob);
      const absent = someContent(algorithm);
      for (const [digest, from] of [
        [absent.digest, '&from=source'],
        [absent.digest, '&from=nowhere'],
        [blob.digest, ''],
      ]) {
        const answer = await ask(origin, 'POST', `/v2/other/blobs/uploads/?mount=${digest}${from}`);
        t.equal(answer.status, 202, 'an upload begins instead');
        t.equal((await ask(origin, 'DELETE', answer.headers['location'] ?? '')).status, 204);
      }
      t.equal((await ask(origin, 'HEAD', `/v2/other/blobs/${blob.digest}`)).status, 404);
    });

    t.test('end-14: an upload is cancelled', async (t) => {
      const location = await begin();
      t.equal((await ask(origin, 'DELETE', location)).status, 204);
      for (const method of ['GET', 'DELETE', 'PATCH'] as const) {
        t.equal((await ask(origin, method, location)).status, 404, method);
      }
    });

    t.test('a wrong digest is refused and nothing is stored', async (t) => {
      const blob = someContent(algorithm);
      const other = someContent(algorithm);
      const whole = `/v2/a/blobs/uploads/?digest=${other.digest}`;
      const put = closing(origin, await begin(), other.digest);
      for (const answer of [
        await ask(origin, 'POST', whole, { body: blob.bytes }),
        await ask(origin, 'PUT', put, { body: blob.bytes }),
      ]) {
        t.same([answer.status, answer.errorCode()], [400, 'DIGEST_INVALID']);
      }
      for (const { digest } of [blob, other]) {
        t.equal((await ask(origin, 'HEAD', `/v2/a/blobs/${digest}`)).status, 404);
      }
    });

    t.test('an empty blob', async () => {
      const blob = { bytes: Buffer.alloc(0), digest: digestOf(algorithm, Buffer.alloc(0)) };
      const where = closing(origin, await begin(), blob.digest);
      await arrived(await ask(origin, 'PUT', where), blob);
    });
  });
}

t.test('an unknown digest algorithm is refused', async (t) => {
  const origin = await testOrigin(t);
  for (const algorithm of ['md5', '', 'sha1']) {
    const answer = await ask(origin, 'POST', `/v2/a/blobs/uploads/?digest-algorithm=${algorithm}`);
    t.same([answer.status, answer.errorCode()], [400, 'DIGEST_INVALID'], algorithm);
  }
});
