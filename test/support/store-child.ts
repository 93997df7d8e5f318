/**
 * Run as a child process and killed: stores blobs for ever and prints each digest once it was
 * acknowledged. Arguments: the store's folder, and the seed of the first blob.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { Readable } from 'node:stream';
import { Level } from 'level';
import { openBlobStore } from '#blobs';
import { createHashing } from '#hashing';
import { parseDigest } from '#oci';
import { createLogger } from '#telemetry';
import { createMetainfo, pieceLengthFor } from '#torrent';
import { content, contentDigest } from './content.ts';

const SIZE = 1_000_000;
const [root = '', first = '0'] = process.argv.slice(2);
const level = new Level<string, Uint8Array>(path.join(root, 'db'), { valueEncoding: 'view' });
const log = createLogger({ program: 'test', level: 'silent' });
const blobs = await openBlobStore({ root: path.join(root, 'blobs'), level, hashing: createHashing(), log });

for (let seed = Number(first); ; seed += 1) {
  const digest = parseDigest(contentDigest(seed, SIZE));
  if (seed % 2 === 0) {
    const writer = await blobs.createWriter();
    await writer.append(Readable.from(content(seed, SIZE)));
    await writer.commit(digest);
  } else {
    const bytes = Buffer.concat([...content(seed, SIZE)]);
    const length = pieceLengthFor(SIZE);
    const pieces: Buffer[] = [];
    for (let at = 0; at < SIZE; at += length) pieces.push(bytes.subarray(at, at + length));
    const hashes = pieces.map((piece) => createHash('sha1').update(piece).digest());
    const partial = await blobs.openPartial(
      createMetainfo({ digest, length: SIZE, pieces: Buffer.concat(hashes) }),
    );
    for (const [index, piece] of pieces.entries()) await partial.write(index, piece, 'peer');
    await partial.commit();
    await partial.close();
  }
  process.stdout.write(`${digest}\n`);
}
