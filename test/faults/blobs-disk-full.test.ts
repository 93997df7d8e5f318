/** A store on a full disk: the write says 'no-space', what is stored is still served, and work goes on when there is room. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import t from 'tap';
import { type Digest, parseDigest } from '#oci';
import { content, contentDigest, digestOf } from '../support/content.ts';
import { metainfoOf } from '../support/metainfo.ts';
import { openTestStore, type TestStore } from '../support/store.ts';

const run = promisify(execFile);
const MIB = 1024 ** 2;

async function isWhole(store: TestStore, digest: Digest): Promise<boolean> {
  const reader = await store.blobs.open(digest);
  const got = reader && (await digestOf(reader.stream())).digest;
  await reader?.close();
  return got === digest;
}

t.test('a disk of 16 MiB', { skip: process.getuid?.() !== 0 && 'mounting needs root' }, async (t) => {
  const root = await mkdtemp(path.join(os.tmpdir(), 'shoal-full-'));
  const disk = path.join(root, 'blobs');
  await run('mkdir', [disk]);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk]);
  const store = await openTestStore(t, root);
  t.teardown(() => run('umount', [disk]));

  const digest = parseDigest(contentDigest(1, 2 * MIB));
  const stored = await store.blobs.createWriter();
  await stored.append(Readable.from(content(1, 2 * MIB)));
  await stored.commit(digest);

  const bytes = Buffer.concat([...content(2, 8 * MIB)]);
  const metainfo = metainfoOf(bytes);
  const partial = await store.blobs.openPartial(metainfo);
  await partial.write(0, bytes.subarray(0, metainfo.pieceLength), 'peer');

  const upload = await store.blobs.createWriter();
  await t.rejects(upload.append(Readable.from(content(3, 20 * MIB))), { code: 'no-space' });
  t.equal((await stat(path.join(disk, 'uploads', upload.id))).size, upload.size, 'no tail of a failed write');
  const filler = path.join(disk, 'filler');
  await t.rejects(writeFile(filler, Buffer.alloc(16 * MIB)), { code: 'ENOSPC' });
  await t.rejects(partial.write(1, bytes.subarray(metainfo.pieceLength, 2 * metainfo.pieceLength), 'peer'), {
    code: 'no-space',
  });
  t.notOk(partial.has(1));
  t.ok(await isWhole(store, digest), 'what is stored is served from a full disk');

  await t.rejects(store.blobs.openPartial(metainfoOf(Buffer.alloc(MIB))), { code: 'no-space' });

  await upload.cancel();
  await rm(filler);
  for (let index = 1; index < metainfo.pieces.length / 20; index += 1) {
    const start = index * metainfo.pieceLength;
    await partial.write(index, bytes.subarray(start, start + metainfo.pieceLength), 'peer');
  }
  await partial.commit();
  await partial.close();
  t.ok(await isWhole(store, metainfo.digest), 'the download went on when there was room');
});
