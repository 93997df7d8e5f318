import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import { writeTar } from '../../../src/cli/up/tar.ts';

t.test('what the writer makes, tar unpacks byte for byte', async (t) => {
  const folder = t.testdir();
  const sizes = [0, 1, 511, 512, 513, 70_000];
  const files = sizes.map((size) => {
    const bytes = Buffer.alloc(size, size % 251);
    return {
      path: `dir/file-${size}`,
      mode: 0o640,
      size,
      content: [bytes.subarray(0, 100), bytes.subarray(100)],
    };
  });
  const entries = [{ path: 'dir/', mode: 0o755, size: 0, content: [] }, ...files];
  await mkdir(path.join(folder, 'out'));
  const tar = spawn('tar', ['-x', '-C', path.join(folder, 'out')], { stdio: ['pipe', 'ignore', 'pipe'] });
  let complaints = '';
  tar.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints += text;
  });
  const ended = once(tar, 'close');
  await pipeline(Readable.from(writeTar(entries), { objectMode: false }), tar.stdin);
  t.strictSame(await ended, [0, null]);
  t.equal(complaints, '');
  for (const file of files) {
    const unpacked = path.join(folder, 'out', file.path);
    t.ok((await readFile(unpacked)).equals(Buffer.concat(file.content)), file.path);
    t.equal((await stat(unpacked)).mode & 0o777, 0o640);
  }
});

t.test('a file whose content does not fit its size is refused', async (t) => {
  const file = { path: 'a', mode: 0o644, size: 2, content: [Buffer.from('abc')] };
  t.throws(() => [...writeTar([file])], /3 bytes instead of 2/);
  t.throws(() => [...writeTar([{ ...file, path: 'x'.repeat(101) }])], /longer than 100/);
});
