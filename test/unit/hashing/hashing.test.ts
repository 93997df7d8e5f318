import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { appendFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import { createHashing } from '#hashing';
import { content } from '../../support/content.ts';
import { metainfoOf } from '../../support/metainfo.ts';

const closingChild = fileURLToPath(new URL('../../support/closing-child.ts', import.meta.url));
const PIECE = 256 * 1024;
const bytes = Buffer.concat([...content(3, 5 * PIECE + 77)]);
const sha256 = createHash('sha256').update(bytes).digest('hex');

const { pieces } = metainfoOf(bytes);

t.test('hashes files in the pool', async (t) => {
  const hashing = createHashing();
  t.teardown(() => hashing.close());
  const file = path.join(t.testdir(), 'blob');
  await writeFile(file, bytes);

  t.same(Buffer.from(await hashing.hashPieces(file, PIECE)), Buffer.from(pieces));
  t.equal(await hashing.digestFile(file, 'sha256'), sha256);
  const leaves = await hashing.hashLeaves(file, 1000, 'sha256');
  t.equal(leaves.digest, sha256);
  t.equal(leaves.hashes.length, 32 * Math.ceil(bytes.length / 1000));
  const second = createHash('sha256').update(bytes.subarray(1000, 2000)).digest();
  t.same(Buffer.from(leaves.hashes.subarray(32, 64)), second);

  const shared = new Uint8Array(new SharedArrayBuffer(PIECE));
  shared.set(bytes.subarray(0, PIECE));
  const first = await hashing.hashLeavesOf(shared, 1000);
  t.equal(first.digest, Buffer.from(pieces.subarray(0, 20)).toString('hex'), 'the SHA-1 of all');
  t.equal(first.hashes.length, 32 * Math.ceil(PIECE / 1000));
  t.same(Buffer.from(first.hashes.subarray(0, 32 * 262)), Buffer.from(leaves.hashes.subarray(0, 32 * 262)));

  const damaged = Buffer.from(bytes);
  damaged[2 * PIECE + 5] = (damaged[2 * PIECE + 5] ?? 0) ^ 1;
  await writeFile(file, damaged);
  t.same(await hashing.checkPieces(file, PIECE, Buffer.from(pieces), [0, 2, 5, 99]), [
    true,
    false,
    true,
    false,
  ]);

  const many = await Promise.all(Array.from({ length: 20 }, () => hashing.digestFile(file, 'sha256')));
  t.equal(new Set(many).size, 1, 'jobs at the same time agree');
  await t.rejects(hashing.digestFile(`${file}-missing`, 'sha256'), { code: 'ENOENT' });
});

t.test('follows a file that grows', async (t) => {
  const hashing = createHashing({ threads: 1 });
  t.teardown(() => hashing.close());
  const file = path.join(t.testdir(), 'blob');
  await writeFile(file, bytes.subarray(0, 1000));
  const follower = hashing.followDigest(file);
  follower.advance(1000);
  follower.advance(500);
  await appendFile(file, bytes.subarray(1000));
  t.equal(await follower.finish(bytes.length), sha256);
  await t.rejects(follower.finish(bytes.length), 'a follower ends once');

  const short = hashing.followDigest(file);
  await t.rejects(short.finish(bytes.length + 1), { code: 'ERR_SHORT_FILE' });
  const missing = hashing.followDigest(`${file}-missing`);
  await t.rejects(missing.finish(1), 'a missing file is told at the end');
});

t.test('what is asked of a closed pool rejects', async (t) => {
  const hashing = createHashing();
  const file = path.join(t.testdir(), 'blob');
  await writeFile(file, bytes);
  const asked = t.rejects(hashing.digestFile(file, 'sha256'));
  await hashing.close();
  await asked;
  await t.rejects(hashing.digestFile(file, 'sha256'));
});

t.test('a thread that dies rejects its jobs and is replaced', async (t) => {
  const hashing = createHashing({ threads: 1 });
  t.teardown(() => hashing.close());
  const file = path.join(t.testdir(), 'blob');
  await writeFile(file, bytes);
  const [follower, [worker]] = [hashing.followDigest(file), (await once(process, 'worker')) as [Worker]];
  const asked = t.rejects(hashing.digestFile(file, 'sha256'), { message: /thread ended/ });
  const ended = once(worker, 'exit');
  await worker.terminate();
  await Promise.all([asked, ended]);
  await t.rejects(follower.finish(bytes.length), { message: /thread ended/ });
  const replaced = once(process, 'worker');
  t.equal(await hashing.digestFile(file, 'sha256'), sha256);
  t.not((await replaced)[0], worker);
});

t.test('a process does not exit before close resolves', async (t) => {
  const file = path.join(t.testdir(), 'blob');
  await writeFile(file, Buffer.alloc(3_000_000));
  const ran = await promisify(execFile)(process.execPath, [closingChild, file]).catch((error) => error);
  t.equal(ran.stdout, 'closed');
});
