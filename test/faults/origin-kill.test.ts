/** What the origin acknowledged with 201 is there after kill -9, and what it had not is no harm. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { sha256DigestOf } from '#oci';
import { call, MANIFEST, temporaryFolder } from '../support/origin.ts';
import { startOriginProcess } from '../support/origin-process.ts';

t.test('an image pushed right before kill -9 can be pulled afterwards', async (t) => {
  const data = await temporaryFolder(t);
  const before = await startOriginProcess(t, data);
  const layer = randomBytes(3 << 20);
  const config = Buffer.from('{}');
  for (const bytes of [layer, config]) {
    const begun = await call('POST', `${before.url}/v2/a/b/blobs/uploads/`);
    const location = `${before.url}${begun.headers['location']}?digest=${sha256DigestOf(bytes)}`;
    t.equal((await call('PUT', location, { body: bytes })).status, 201);
  }
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: sha256DigestOf(config), size: 2 },
    layers: [
      {
        mediaType: 'application/vnd.oci.image.layer.v1.tar',
        digest: sha256DigestOf(layer),
        size: layer.length,
      },
    ],
  });
  const put = await call('PUT', `${before.url}/v2/a/b/manifests/v1`, {
    headers: { 'content-type': MANIFEST },
    body: manifest,
  });
  t.equal(put.status, 201);
  await before.kill();

  const after = await startOriginProcess(t, data);
  const pulled = await call('GET', `${after.url}/v2/a/b/manifests/v1`);
  t.same([pulled.status, pulled.body.toString()], [200, manifest]);
  for (const bytes of [layer, config]) {
    const blob = await call('GET', `${after.url}/v2/a/b/blobs/${sha256DigestOf(bytes)}`);
    t.ok(blob.body.equals(bytes));
  }
  const torrent = await call('GET', `${after.url}/v2/a/b/_shoal/torrents/${sha256DigestOf(layer)}`);
  t.equal(torrent.status, 200);
});

t.test('each blob that was answered 201 before kill -9 is there, at any moment of a busy push', async (t) => {
  const data = await temporaryFolder(t);
  const before = await startOriginProcess(t, data);
  const acknowledged = new Map<string, Buffer>();
  let pushed = 0;
  const push = async (): Promise<void> => {
    for (;;) {
      const bytes = randomBytes(50_000);
      const digest = sha256DigestOf(bytes);
      const answer = await call('POST', `${before.url}/v2/busy/blobs/uploads/?digest=${digest}`, {
        body: bytes,
      });
      if (answer.status === 201) acknowledged.set(digest, bytes);
      pushed += 1;
      if (pushed === 30) await before.kill();
    }
  };
  const ends = await Promise.allSettled([push(), push(), push(), push()]);
  t.ok(
    ends.every((end) => end.status === 'rejected'),
    'the pushes were cut off',
  );
  t.ok(acknowledged.size >= 20, `${acknowledged.size} blobs were acknowledged`);

  const after = await startOriginProcess(t, data);
  for (const [digest, bytes] of acknowledged) {
    const blob = await call('GET', `${after.url}/v2/busy/blobs/${digest}`);
    if (!blob.body.equals(bytes)) t.fail(`${digest} answered ${blob.status}`);
  }
});

t.test('an upload cut by kill -9 is resumed from what came', async (t) => {
  const data = await temporaryFolder(t);
  const before = await startOriginProcess(t, data);
  const bytes = randomBytes(1 << 20);
  const half = bytes.length / 2;
  const begun = await call('POST', `${before.url}/v2/a/blobs/uploads/`);
  const location = begun.headers['location'] ?? '';
  await call('PATCH', `${before.url}${location}`, { body: bytes.subarray(0, half) });
  await before.kill();

  const after = await startOriginProcess(t, data);
  const status = await call('GET', `${after.url}${location}`);
  t.same([status.status, status.headers['range']], [204, `0-${half - 1}`]);
  const digest = sha256DigestOf(bytes);
  const rest = await call('PUT', `${after.url}${location}?digest=${digest}`, {
    headers: { 'content-range': `${half}-${bytes.length - 1}` },
    body: bytes.subarray(half),
  });
  t.equal(rest.status, 201);
  t.ok((await call('GET', `${after.url}/v2/a/blobs/${digest}`)).body.equals(bytes));
});
