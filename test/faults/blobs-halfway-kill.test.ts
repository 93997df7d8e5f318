/** kill -9 in the middle of a push and of a download: what each was told is still there, and right. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { content, digestOf } from '../support/content.ts';
import { metainfoOf } from '../support/metainfo.ts';
import { openTestStore } from '../support/store.ts';

const child = fileURLToPath(new URL('../support/halfway-child.ts', import.meta.url));
const SIZE = 12 * 256 * 1024 + 77;

interface Told {
  upload: string;
  size: number;
  readonly pieces: Set<number>;
}

/** Kills the child when it has told `lines` lines; what it had written by then counts too. */
async function killedAfter(lines: number, root: string, seed: number): Promise<Told> {
  const running = spawn(process.execPath, [child, root, String(seed), String(SIZE)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(running, 'exit');
  const told: Told = { upload: '', size: 0, pieces: new Set() };
  let count = 0;
  for await (const line of createInterface({ input: running.stdout })) {
    const [what, value = ''] = line.split(' ');
    if (what === 'upload') told.upload = value;
    if (what === 'size') told.size = Number(value);
    if (what === 'piece') told.pieces.add(Number(value));
    count += 1;
    if (count === lines) running.kill('SIGKILL');
  }
  await exited;
  if (running.signalCode !== 'SIGKILL') throw new Error('the child ended before it was killed');
  return told;
}

for (const lines of [5, 17, 40]) {
  t.test(`killed after ${lines} steps`, async (t) => {
    const root = await mkdtemp(path.join(os.tmpdir(), 'shoal-halfway-'));
    const bytes = Buffer.concat([...content(lines, SIZE)]);
    const metainfo = metainfoOf(bytes);
    const told = await killedAfter(lines, root, lines);
    const store = await openTestStore(t, root);

    t.equal(await store.blobs.open(metainfo.digest), undefined, 'half a blob is no blob');
    const partial = await store.blobs.openPartial(metainfo);
    const held = [...Array(13).keys()].filter((index) => partial.has(index));
    t.same(
      [...told.pieces].filter((index) => !partial.has(index)),
      [],
      'no piece that was told is lost',
    );
    for (const index of held) {
      const start = index * metainfo.pieceLength;
      const expected = bytes.subarray(start, start + metainfo.pieceLength);
      const into = Buffer.alloc(expected.length);
      await partial.read(start, into);
      t.ok(into.equals(expected), `piece ${index} is right`);
    }
    await partial.close();

    const writer = await store.blobs.resumeWriter(told.upload);
    const size = writer?.size ?? -1;
    t.ok(size >= told.size, `${size} bytes are there, ${told.size} were told`);
    await writer?.append(Readable.from([bytes.subarray(size)]));
    await writer?.commit(metainfo.digest);
    const reader = await store.blobs.open(metainfo.digest);
    t.equal(reader && (await digestOf(reader.stream())).digest, metainfo.digest);
    await reader?.close();
  });
}
