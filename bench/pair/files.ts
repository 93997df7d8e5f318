/** Stores over plain files, and the metainfo of a file, for sides of the pair benchmark. */
import { createHash } from 'node:crypto';
import { open, readFile, writeFile } from 'node:fs/promises';
import { parseDigest } from '#oci';
import type { PieceStore, SeedStore } from '#swarm';
import { createMetainfo, type Metainfo, pieceCount, pieceLengthFor } from '#torrent';

/** What the sides need to know of the blob, computed once by the runner. */
export interface Described {
  readonly digest: string;
  readonly length: number;
  /** Hex. */
  readonly pieces: string;
}

/** Hashes the file; about two seconds a GiB. */
export async function describe(path: string): Promise<Described> {
  const file = await open(path);
  const { size } = await file.stat();
  const pieceLength = pieceLengthFor(size);
  const whole = createHash('sha256');
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(pieceLength);
  for (let at = 0; at < size; at += pieceLength) {
    const { bytesRead } = await file.read(buffer, 0, pieceLength, at);
    const piece = buffer.subarray(0, bytesRead);
    whole.update(piece);
    pieces.push(createHash('sha1').update(piece).digest());
  }
  await file.close();
  return {
    digest: `sha256:${whole.digest('hex')}`,
    length: size,
    pieces: Buffer.concat(pieces).toString('hex'),
  };
}

export function toMetainfo(described: Described): Metainfo {
  const digest = parseDigest(described.digest);
  if (digest === undefined) throw new Error('not a digest');
  return createMetainfo({
    digest,
    length: described.length,
    pieces: Buffer.from(described.pieces, 'hex'),
  });
}

export async function loadMetainfo(path: string): Promise<Metainfo> {
  return toMetainfo(JSON.parse(await readFile(path, 'utf8')) as Described);
}

export async function saveDescription(described: Described, path: string): Promise<void> {
  await writeFile(path, JSON.stringify(described));
}

/** A complete file as a seed. */
export async function fileSeed(path: string): Promise<SeedStore> {
  const file = await open(path);
  return {
    has: () => true,
    async read(position, into) {
      const { bytesRead } = await file.read(into, 0, into.length, position);
      if (bytesRead !== into.length) throw new Error('file is short');
    },
    write: () => Promise.resolve(),
    close: () => file.close(),
  };
}

/** A file of the blob's length that is filled piece by piece; what is in it counts for nothing. */
export async function filePartial(path: string, metainfo: Metainfo): Promise<PieceStore> {
  const file = await open(path, 'r+');
  const held = new Uint8Array(pieceCount(metainfo));
  let last: Promise<unknown> = Promise.resolve();
  return {
    has: (piece) => held[piece] === 1,
    async read(position, into) {
      await file.read(into, 0, into.length, position);
    },
    async write(piece, bytes) {
      const writing = last.then(() => file.write(bytes, 0, bytes.length, piece * metainfo.pieceLength));
      last = writing;
      await writing;
      held[piece] = 1;
    },
  };
}
