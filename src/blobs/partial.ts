/**
 * The pieces of a download. The state file is a hint: what it marks is checked by hash when the
 * partial is opened again, so no write needs an fsync before the whole blob is committed.
 */
import { type FileHandle, open, rm, statfs } from 'node:fs/promises';
import type { DigestFollower, Hashing } from '#hashing';
import { type Digest, digestAlgorithm, digestHex } from '#oci';
import type { PieceSource } from '#swarm';
import { knownPieces, pieceCount, pieceSize, type Torrent } from '#torrent';
import { asStoreError, BlobStoreError } from './errors.ts';
import type { Layout } from './layout.ts';
import type { BlobInfo, PartialBlob } from './port.ts';
import { readFully, writeFully } from './reader.ts';

/** A piece's byte in the state file is 0 (missing) or its source's place in this list plus 1. */
const SOURCES: readonly PieceSource[] = ['peer', 'origin-swarm', 'origin-http', 'upstream'];

/** What a partial needs of its store. */
export interface PartialOwner {
  readonly layout: Layout;
  readonly hashing: Hashing;
  adopt(path: string, handle: FileHandle, digest: Digest, size: number): Promise<BlobInfo>;
  ended(digest: Digest): void;
}

export async function openPartial(metainfo: Torrent, owner: PartialOwner): Promise<PartialBlob> {
  const { layout, hashing } = owner;
  const { digest, length } = metainfo;
  const dataPath = layout.partialData(digest);
  const statePath = layout.partialState(digest);
  const count = pieceCount(metainfo);

  /** Marks of an earlier run for pieces of which a draft does not know the hash yet. */
  const unchecked = new Map<number, number>();
  const { data, stateFile, state, follower } = await openFiles();
  let verifiedBytes = 0;
  let front = 0;
  for (let piece = 0; piece < count; piece += 1)
    if (state[piece] !== 0) verifiedBytes += pieceSize(metainfo, piece);
  let life: 'open' | 'committed' | 'closed' = 'open';
  let committing: Promise<BlobInfo> | undefined;
  let ending: Promise<void> | undefined;
  const writing = new Map<number, Promise<void>>();
  advanceFront();

  async function openFiles(): Promise<{
    data: FileHandle;
    stateFile: FileHandle;
    state: Uint8Array;
    follower: DigestFollower;
  }> {
    const opened: FileHandle[] = [];
    try {
      for (const file of [dataPath, statePath]) opened.push(await openOrCreate(file));
      const [data, stateFile] = opened as [FileHandle, FileHandle];
      const state = new Uint8Array(count);
      const dataStats = await data.stat();
      const stateStats = await stateFile.stat();
      if (dataStats.size === length && stateStats.size === count && count > 0) {
        await readFully(stateFile, 0, state, count);
        await dropDamaged(state);
      }
      await requireSpace(length - dataStats.blocks * 512);
      await data.truncate(length);
      await stateFile.truncate(count);
      const marks = state.slice();
      for (const [piece, mark] of unchecked) marks[piece] = mark;
      await writeFully(stateFile, 0, marks);
      return { data, stateFile, state, follower: hashing.followDigest(dataPath, digestAlgorithm(digest)) };
    } catch (error) {
      await Promise.all(opened.map((handle) => handle.close()));
      throw asStoreError(error);
    }
  }

  async function dropDamaged(state: Uint8Array): Promise<void> {
    const marked: number[] = [];
    const known = knownPieces(metainfo);
    for (let piece = 0; piece < count; piece += 1) {
      const mark = state[piece] ?? 0;
      const isMarked = mark > 0 && mark <= SOURCES.length;
      if (isMarked && piece < known) marked.push(piece);
      else state[piece] = 0;
      if (isMarked && piece >= known) unchecked.set(piece, mark);
    }
    if (marked.length === 0) return;
    const good = await hashing.checkPieces(dataPath, metainfo.pieceLength, metainfo.pieces, marked);
    for (const [at, piece] of marked.entries()) if (!good[at]) state[piece] = 0;
  }

  async function requireSpace(bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(layout.root);
    if (bytes > bavail * bsize) {
      throw new BlobStoreError('no-space', `${bytes} bytes are needed, ${bavail * bsize} are free`);
    }
  }

  function advanceFront(): void {
    const before = front;
    while (front < count && state[front] !== 0) front += 1;
    if (front > before) follower.advance(Math.min(front * metainfo.pieceLength, length));
  }

  /** `piece` is here, and its mark is on disk. */
  function holds(piece: number, mark: number): void {
    if (has(piece)) return;
    state[piece] = mark;
    verifiedBytes += pieceSize(metainfo, piece);
    advanceFront();
  }

  function has(piece: number): boolean {
    return state[piece] !== undefined && state[piece] !== 0;
  }

  async function store(piece: number, bytes: Uint8Array, source: PieceSource): Promise<void> {
    if (life !== 'open') throw new BlobStoreError('closed');
    if (
      !Number.isInteger(piece) ||
      piece < 0 ||
      piece >= count ||
      bytes.length !== pieceSize(metainfo, piece)
    ) {
      throw new BlobStoreError('invalid', `piece ${piece} of ${bytes.length} bytes`);
    }
    try {
      await writeFully(data, piece * metainfo.pieceLength, bytes);
      const mark = SOURCES.indexOf(source) + 1;
      await writeFully(stateFile, piece, Uint8Array.of(mark));
      holds(piece, mark);
    } catch (error) {
      throw asStoreError(error);
    }
  }

  /** Ends it once. The next partial of this digest may open only when the files are at rest, or gone. */
  async function letGo(remove: boolean): Promise<void> {
    const aborted = life === 'open' ? follower.abort() : undefined;
    life = 'closed';
    try {
      await Promise.allSettled([...writing.values(), aborted]);
      await Promise.all([data.close(), stateFile.close()]);
      if (remove) await Promise.all([rm(dataPath, { force: true }), rm(statePath, { force: true })]);
    } finally {
      owner.ended(digest);
    }
  }

  function end(remove: boolean): Promise<void> {
    ending ??= letGo(remove);
    return ending;
  }

  async function endAfterCommit(remove: boolean): Promise<void> {
    await committing?.catch(() => undefined);
    await end(remove);
  }

  async function becomeBlob(options: NonNullable<Parameters<PartialBlob['commit']>[0]>): Promise<BlobInfo> {
    // The follower is lost with its thread; the bytes are not.
    const actual = await follower
      .finish(length)
      .catch(() => hashing.digestFile(dataPath, digestAlgorithm(digest)));
    if (actual !== digestHex(digest)) {
      await end(true);
      throw new BlobStoreError('digest-mismatch', `expected ${digest}, got ${actual}`);
    }
    options.onVerified?.();
    const info = await owner.adopt(dataPath, data, digest, length);
    options.onStored?.();
    life = 'committed';
    await rm(statePath, { force: true });
    return info;
  }

  return {
    metainfo,
    has,
    source: (piece) => SOURCES[(state[piece] ?? 0) - 1],
    get verifiedBytes() {
      return verifiedBytes;
    },
    async read(position, into) {
      if (life === 'closed') throw new BlobStoreError('closed');
      const last = Math.floor((position + Math.max(into.length, 1) - 1) / metainfo.pieceLength);
      for (let piece = Math.floor(position / metainfo.pieceLength); piece <= last; piece += 1) {
        if (!has(piece)) throw new BlobStoreError('invalid', `piece ${piece} is not here`);
      }
      await readFully(data, position, into, length);
    },
    async write(piece, bytes, source) {
      if (has(piece)) return;
      const running = writing.get(piece);
      if (running !== undefined) return running;
      const work = store(piece, bytes, source).finally(() => writing.delete(piece));
      writing.set(piece, work);
      return work;
    },
    async recheck(piece) {
      const mark = unchecked.get(piece);
      if (mark === undefined || life !== 'open') return undefined;
      unchecked.delete(piece);
      const { pieceLength, pieces } = metainfo;
      const [isGood] = await hashing.checkPieces(dataPath, pieceLength, pieces, [piece]);
      if (!isGood || life !== 'open' || has(piece)) return undefined;
      holds(piece, mark);
      return SOURCES[mark - 1];
    },
    async commit(options = {}) {
      if (life !== 'open') throw new BlobStoreError('closed');
      if (committing !== undefined) throw new BlobStoreError('busy');
      if (verifiedBytes !== length) throw new BlobStoreError('invalid', 'pieces are missing');
      committing = becomeBlob(options).finally(() => {
        committing = undefined;
      });
      return committing;
    },
    close: () => endAfterCommit(false),
    discard: () => endAfterCommit(true),
  };
}

async function openOrCreate(file: string): Promise<FileHandle> {
  return open(file, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return open(file, 'wx+', 0o640);
    throw error;
  });
}
