/** The key of a cluster: made once, kept from others, never overwritten. */
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { clusterKeyFile, initCluster, readClusterKey } from '#cluster';

t.test('init makes it once, also when two do so at the same time', async (t) => {
  const file = clusterKeyFile(path.join(t.testdir(), 'new', 'folder'));
  t.equal(await readClusterKey(file), undefined);
  const made = await Promise.all(Array.from({ length: 8 }, () => initCluster(file)));
  t.equal(made.filter(({ created }) => created).length, 1);
  t.equal(new Set(made.map(({ key }) => key.id)).size, 1);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  const text = await readFile(file, 'utf8');
  t.match(await initCluster(file), { created: false });
  t.equal(await readFile(file, 'utf8'), text);
});

t.test('a key that others may read, or that is none, is refused and stays', async (t) => {
  const file = clusterKeyFile(t.testdir());
  await initCluster(file);
  await chmod(file, 0o644);
  await t.rejects(readClusterKey(file), { message: /chmod 600/ });
  await chmod(file, 0o600);
  const { cluster, key } = JSON.parse(await readFile(file, 'utf8'));
  const other = Buffer.alloc(32, 7).toString('base64url');
  for (const text of [
    '',
    'nonsense',
    JSON.stringify({ cluster }),
    JSON.stringify({ cluster: other, key }),
    JSON.stringify({ cluster: other, key: { ...key, x: other } }),
    'x'.repeat(10_000),
  ]) {
    await writeFile(file, text);
    await t.rejects(initCluster(file), { message: /not the key of a cluster/ });
    t.equal(await readFile(file, 'utf8'), text, 'it is not overwritten');
  }
});
