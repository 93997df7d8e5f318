/** A start goes on with what was in flight, and does not look at the rest. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import t from 'tap';
import { openDatabase } from '#database';
import { openMetainfoCatalog } from '#torrent';
import { until } from '../support/in-process.ts';
import { pushBlob, testOrigin } from '../support/origin.ts';

t.test('a torrent that a crash prevented is made at the next start, and only that', async (t) => {
  const origin = await testOrigin(t);
  const digests: string[] = [];
  for (const size of [100_000, 100_001]) digests.push(await pushBlob(origin, 'a', randomBytes(size)));
  for (const digest of digests) {
    t.equal((await origin.call('GET', `/v2/a/_shoal/torrents/${digest}`)).status, 200);
  }
  await origin.origin.close();

  const db = await openDatabase(path.join(origin.data, 'db'));
  const catalog = openMetainfoCatalog(db);
  const unhashed = db.sublevel<string, Buffer>(['origin', 'unhashed'], { valueEncoding: 'buffer' });
  const [one, two] = digests as [Parameters<typeof catalog.get>[0], Parameters<typeof catalog.get>[0]];
  const infoHashes = [(await catalog.get(one))?.infoHash, (await catalog.get(two))?.infoHash];
  for (const digest of [one, two]) await catalog.delete(digest);
  await unhashed.put(one, Buffer.alloc(0));
  await db.close();

  const again = await testOrigin(t, { data: origin.data });
  const known = async (infoHash: string | undefined) =>
    (await again.call('GET', `/api/v1/torrents/${infoHash}`)).status;
  await until(async () => (await known(infoHashes[0])) === 200);
  t.equal(await known(infoHashes[1]), 404, 'the other is made when somebody asks for it');
  t.equal((await again.call('GET', `/v2/a/_shoal/torrents/${two}`)).status, 200);
  t.equal(await known(infoHashes[1]), 200);
});
