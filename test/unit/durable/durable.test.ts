import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { writeDurably } from '#durable';

t.test('the new content whole, with its mode, and nothing beside it', async (t) => {
  const file = path.join(t.testdir(), 'a', 'b', 'file');
  t.equal(await writeDurably(file, 'old'), true, 'folders are made');
  t.equal(await writeDurably(file, Buffer.from('new')), true);
  t.equal(await readFile(file, 'utf8'), 'new');
  t.equal((await stat(file)).mode & 0o777, 0o600);
  await chmod(file, 0o644);
  await writeDurably(file, 'newer', { mode: 0o400 });
  t.equal((await stat(file)).mode & 0o777, 0o400, 'not that of the file before');
  t.same(await readdir(path.dirname(file)), ['file']);
});

t.test('exclusive: a file that is there stays', async (t) => {
  const file = path.join(t.testdir(), 'file');
  t.equal(await writeDurably(file, 'first', { exclusive: true }), true);
  t.equal(await writeDurably(file, 'second', { exclusive: true }), false);
  t.equal(await readFile(file, 'utf8'), 'first');
  t.same(await readdir(path.dirname(file)), ['file']);
});

t.test('what cannot be written leaves nothing behind', async (t) => {
  const folder = t.testdir();
  await mkdir(path.join(folder, 'taken', 'by'), { recursive: true });
  await t.rejects(writeDurably(path.join(folder, 'taken'), 'text'), { code: 'EISDIR' });
  t.same(await readdir(folder), ['taken']);
});
