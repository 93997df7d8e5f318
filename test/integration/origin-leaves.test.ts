/** The leaf hashes of blobs, which readers of small ranges check what they get with. */
import { createHash, randomBytes } from 'node:crypto';
import { open, utimes } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { LEAVES_MEDIA_TYPE, parseLeaves } from '#torrent';
import { pushBlob, testOrigin } from '../support/origin.ts';

const LEAF = 16 * 1024;

t.test('the leaf hashes of a blob, the same after a restart', async (t) => {
  const origin = await testOrigin(t);
  const bytes = randomBytes(10 * LEAF + 5);
  const digest = await pushBlob(origin, 'a', bytes);
  const where = `/v2/a/_shoal/leaves/${digest}`;
  const [answer, beside] = await Promise.all([origin.call('GET', where), origin.call('GET', where)]);
  t.same([answer.status, answer.headers['content-type']], [200, LEAVES_MEDIA_TYPE]);
  t.ok(answer.body.equals(beside.body), 'who asks at the same time gets the same');
  const leaves = parseLeaves(answer.body);
  t.match(leaves, { digest, length: bytes.length, leafLength: LEAF });
  for (let index = 0; index < 11; index += 1) {
    const expected = createHash('sha256')
      .update(bytes.subarray(index * LEAF, (index + 1) * LEAF))
      .digest();
    t.ok(expected.equals(leaves.hashes.subarray(index * 32, index * 32 + 32)), `leaf ${index}`);
  }
  const head = await origin.call('HEAD', where);
  t.same([head.status, head.headers['content-length']], [200, String(answer.body.length)]);
  const headers = { 'if-none-match': String(answer.headers['etag']) };
  t.equal((await origin.call('GET', where, { headers })).status, 304);
  const after = await origin.restart();
  t.ok((await after.call('GET', where)).body.equals(answer.body));
});

t.test('leaf hashes are for whoever may read the blob, as long as it is there', async (t) => {
  const origin = await testOrigin(t);
  const digest = await pushBlob(origin, 'a', randomBytes(1000));
  for (const [where, status, code] of [
    [`/v2/b/_shoal/leaves/${digest}`, 404, 'BLOB_UNKNOWN'],
    [`/v2/a/_shoal/leaves/sha256:${'0'.repeat(64)}`, 404, 'BLOB_UNKNOWN'],
    ['/v2/a/_shoal/leaves/sha256:00', 400, 'DIGEST_INVALID'],
  ] as const) {
    const answer = await origin.call('GET', where);
    t.same([answer.status, answer.errorCode()], [status, code], where);
  }
  t.equal((await origin.call('PUT', `/v2/a/_shoal/leaves/${digest}`)).status, 405);
  t.equal((await origin.call('GET', `/v2/a/_shoal/leaves/${digest}?ns=x.test`)).status, 200);
  await origin.call('DELETE', `/v2/a/blobs/${digest}`);
  t.equal((await origin.call('GET', `/v2/a/_shoal/leaves/${digest}`)).status, 404);
});

t.test('no leaf hashes are made of bytes that are not what the digest says', async (t) => {
  const origin = await testOrigin(t);
  const digest = await pushBlob(origin, 'a', randomBytes(100_000));
  const file = path.join(origin.data, 'blobs', 'sha256', digest.slice(7, 9), digest.slice(7));
  const handle = await open(file, 'r+');
  const { atime, mtime } = await handle.stat();
  await handle.write(Buffer.from('rot'), 0, 3, 50_000);
  await handle.close();
  await utimes(file, atime, mtime);
  t.equal((await origin.call('GET', `/v2/a/_shoal/leaves/${digest}`)).status, 404);
  t.equal((await origin.call('GET', `/v2/a/blobs/${digest}`)).status, 404, 'the blob was set aside');
});
