/** A data folder from before garbage collection loses nothing to it. */
import path from 'node:path';
import t from 'tap';
import { openDatabase } from '#database';
import { sha256DigestOf } from '#oci';
import { imageOf, putManifest, testOrigin } from '../support/origin.ts';

t.test('references and leases are made for what an older origin stored', async (t) => {
  const origin = await testOrigin(t);
  const shared = Buffer.from('a layer of both');
  const first = await imageOf(origin, 'a', [shared]);
  await putManifest(origin, 'a', 'v1', first);
  await origin.origin.close();
  const db = await openDatabase(path.join(origin.data, 'db'));
  for (const name of ['needs', 'references', 'pointers', 'leases', 'queue', 'facts']) {
    await db.sublevel<string, Buffer>(['origin', name], { valueEncoding: 'buffer' }).clear();
  }
  await db.close();

  let skipped = 0;
  const now = (): number => performance.timeOrigin + performance.now() + skipped;
  const collection = { leaseMs: 60_000, intervalMs: undefined, now };
  const again = await testOrigin(t, { data: origin.data, collection });
  const second = await imageOf(again, 'a', [shared, Buffer.from('its own')]);
  await putManifest(again, 'a', 'v2', second);
  t.equal((await again.call('DELETE', `/v2/a/manifests/${sha256DigestOf(second)}`)).status, 202);
  skipped += 1_000_000;
  const report = (await again.call('POST', '/api/v1/gc')).json() as { removed: { link: number } };
  t.equal(report.removed.link, 1, 'only what the new image alone had');
  const kept = await again.call('GET', `/v2/a/blobs/${sha256DigestOf(shared)}`);
  t.ok(kept.body.equals(shared));
  t.equal((await again.call('DELETE', `/v2/a/manifests/${sha256DigestOf(first)}`)).status, 202);
  t.equal((await again.call('GET', '/v2/a/manifests/v1')).status, 404, 'its tag went with it');
  skipped += 1_000_000;
  t.match((await again.call('POST', '/api/v1/gc')).json(), { removed: { link: 2 } });
});
