/** Damage that the file's size, times and inode do not show: only reading all of it does. */
import { chmod, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { digestHex, sha256DigestOf } from '#oci';
import { openRecords, recordOf } from '../../../src/blobs/records.ts';
import { temporaryFolder } from '../../support/origin.ts';
import { openTestStore } from '../../support/store.ts';

t.test('a blob whose record agrees with a damaged file is found and set aside', async (t) => {
  const root = await temporaryFolder(t);
  const { blobs, level } = await openTestStore(t, root);
  const bytes = Buffer.from('content');
  const digest = sha256DigestOf(bytes);
  const push = async () => {
    const writer = await blobs.createWriter();
    await writer.append([bytes] as never);
    await writer.commit(digest);
  };
  await push();
  t.equal(await blobs.verify(digest), 'good');
  const hex = digestHex(digest);
  const file = path.join(root, 'blobs', 'sha256', hex.slice(0, 2), hex);
  await chmod(file, 0o640);
  await writeFile(file, 'c0ntent');
  const records = await openRecords(level);
  await records.put(digest, recordOf(await stat(file, { bigint: true }), Date.now()));

  t.ok(await blobs.stat(digest), 'nothing shows from outside');
  t.equal(await blobs.verify(digest), 'damaged');
  t.equal(await blobs.stat(digest), undefined);
  t.equal(await blobs.verify(digest), 'missing');
  await push();
  t.equal(await blobs.verify(digest), 'good');
});
