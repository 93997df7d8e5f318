/** A full disk refuses what does not fit, in words, and nothing else. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir, rm, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import {
  beginUpload,
  imageOf,
  pushBlob,
  putManifest,
  temporaryFolder,
  testOrigin,
} from '../support/origin.ts';

const run = promisify(execFile);

t.test('a push that does not fit is refused, and the rest goes on', async (t) => {
  const data = await temporaryFolder(t);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', data]);
  t.teardown(() => run('umount', ['-l', data]));
  const origin = await testOrigin(t, { data });
  const kept = randomBytes(1 << 20);
  const digest = await pushBlob(origin, 'a', kept);
  const large = randomBytes(30 << 20);

  const whole = await origin.call('POST', `/v2/a/blobs/uploads/?digest=${sha256DigestOf(large)}`, {
    body: large,
  });
  t.same([whole.status, whole.errorCode()], [507, 'NO_SPACE']);
  t.match(whole.body.toString(), /ENOSPC/);
  const location = await beginUpload(origin, 'a');
  const chunk = await origin.call('PATCH', location, { body: large });
  t.same([chunk.status, chunk.errorCode()], [507, 'NO_SPACE']);
  t.equal((await origin.call('GET', location)).status, 404, 'half a blob does not keep the disk full');
  t.same(await readdir(path.join(data, 'blobs/uploads')), []);

  t.ok((await origin.call('GET', `/v2/a/blobs/${digest}`)).body.equals(kept), 'what is there is served');
  const manifest = await imageOf(origin, 'a', [randomBytes(1 << 20)]);
  t.equal((await putManifest(origin, 'a', 'v1', manifest)).status, 201, 'what fits is stored');

  const filler = path.join(data, 'filler');
  const { bavail, bsize } = await statfs(data);
  await writeFile(filler, Buffer.alloc(bavail * bsize - (512 << 10)));
  const annotations = { large: 'x'.repeat(2 << 20) };
  const annotated = Buffer.from(JSON.stringify({ ...JSON.parse(manifest.toString()), annotations }));
  const refused = await putManifest(origin, 'a', 'v2', annotated);
  t.same([refused.status, refused.errorCode()], [507, 'NO_SPACE'], 'the database keeps its reserve');
  await rm(filler);
  t.equal((await putManifest(origin, 'a', 'v2', annotated)).status, 201);

  const after = await origin.restart();
  t.ok((await after.call('GET', `/v2/a/blobs/${digest}`)).body.equals(kept));
  t.ok((await after.call('GET', '/v2/a/manifests/v1')).body.equals(manifest));
});
