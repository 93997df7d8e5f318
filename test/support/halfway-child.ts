/**
 * Run as a child process and killed: begins one upload and one download, and prints what each step
 * was told. Arguments: the store's folder, the seed of both, and the bytes of both.
 */
import path from 'node:path';
import { Readable } from 'node:stream';
import { Level } from 'level';
import { openBlobStore } from '#blobs';
import { createHashing } from '#hashing';
import { createLogger } from '#telemetry';
import { pieceSize } from '#torrent';
import { content } from './content.ts';
import { metainfoOf } from './metainfo.ts';

const [root = '', seed = '0', size = '0'] = process.argv.slice(2);
const level = new Level<string, Uint8Array>(path.join(root, 'db'), { valueEncoding: 'view' });
const log = createLogger({ program: 'test', level: 'silent' });
const blobs = await openBlobStore({ root: path.join(root, 'blobs'), level, hashing: createHashing(), log });

const tell = (line: string): void => void process.stdout.write(`${line}\n`);
const bytes = Buffer.concat([...content(Number(seed), Number(size))]);
const metainfo = metainfoOf(bytes);

async function push(): Promise<void> {
  const writer = await blobs.createWriter();
  tell(`upload ${writer.id}`);
  for (let at = 0; at < bytes.length; at += 50_000) {
    await writer.append(Readable.from([bytes.subarray(at, at + 50_000)]));
    tell(`size ${writer.size}`);
  }
}

async function fetchPieces(): Promise<void> {
  const partial = await blobs.openPartial(metainfo);
  const count = metainfo.pieces.length / 20;
  // Back to front and around, so that the pieces do not come in order.
  for (let step = 1; step <= count; step += 1) {
    const index = (step * 5) % count;
    const start = index * metainfo.pieceLength;
    await partial.write(index, bytes.subarray(start, start + pieceSize(metainfo, index)), 'peer');
    tell(`piece ${index}`);
  }
}

await Promise.all([push(), fetchPieces()]);
// Whoever reads this kills the process, now at the latest.
setInterval(() => undefined, 60_000);
