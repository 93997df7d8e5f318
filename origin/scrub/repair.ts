/**
 * A damaged or missing blob, fetched again from the members of the swarm that still have it: the
 * swarm is the backup. The catalogue keeps the metainfo, so that each piece is checked before it is
 * believed, and the whole blob is once more when it enters the store.
 */
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import path from 'node:path';
import type { BlobStore } from '#blobs';
import { type Digest, digestHex } from '#oci';
import type { PieceStore, Swarm } from '#swarm';
import { type Metainfo, type MetainfoCatalog, pieceCount } from '#torrent';
import type { Tracker } from '#tracker';

export interface RepairParts {
  readonly folder: string;
  readonly blobs: BlobStore;
  readonly catalog: MetainfoCatalog;
  readonly swarm: Swarm | undefined;
  readonly tracker: Tracker;
  /** A blob without a new piece for this long is given up. Milliseconds. */
  readonly stallMs: number;
  readonly signal: AbortSignal;
}

/** Undefined: the blob is here again; otherwise why it is not. */
export async function repairBlob(parts: RepairParts, digest: Digest): Promise<string | undefined> {
  const { swarm, tracker, catalog, blobs } = parts;
  if (swarm === undefined) return 'this origin has no swarm listener';
  const metainfo = await catalog.get(digest);
  if (metainfo === undefined) return 'its torrent was never made';
  await swarm.release(metainfo.infoHash);
  const peers = tracker.peersOf(metainfo.infoHash);
  if (peers.length === 0) return 'no member of the swarm has it now';
  await mkdir(parts.folder, { recursive: true, mode: 0o750 });
  const file = path.join(parts.folder, digestHex(digest));
  const handle = await open(file, 'w+', 0o640);
  try {
    const download = swarm.download({ metainfo, store: pieceStore(handle, metainfo) });
    download.completed.catch(() => undefined);
    try {
      download.addPeers(peers);
      await Promise.race([download.completed, stalled(parts, (listener) => download.onPiece(listener))]);
    } finally {
      await download.close();
    }
    await commit(blobs, handle, digest);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await handle.close();
    await rm(file, { force: true });
  }
}

function pieceStore(handle: FileHandle, { pieceLength, ...rest }: Metainfo): PieceStore {
  const held = new Uint8Array(pieceCount({ ...rest, pieceLength }));
  return {
    has: (piece) => held[piece] === 1,
    async read(position, into) {
      await handle.read(into, 0, into.length, position);
    },
    async write(piece, bytes) {
      await handle.write(bytes, 0, bytes.length, piece * pieceLength);
      held[piece] = 1;
    },
  };
}

/** Rejects when no piece comes for too long, or the origin stops. */
function stalled({ stallMs, signal }: RepairParts, onPiece: (listener: () => void) => void): Promise<never> {
  return new Promise((_resolve, reject) => {
    const giveUp = () => reject(new Error(`no piece came for ${stallMs / 1000} s`));
    let timer = setTimeout(giveUp, stallMs).unref();
    onPiece(() => {
      clearTimeout(timer);
      timer = setTimeout(giveUp, stallMs).unref();
    });
    const stop = () => reject(new Error('the origin is stopping'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
  });
}

async function commit(blobs: BlobStore, handle: FileHandle, digest: Digest): Promise<void> {
  const writer = await blobs.createWriter();
  try {
    await writer.append(handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1024 * 1024 }));
    await writer.commit(digest);
  } catch (error) {
    await writer.cancel().catch(() => undefined);
    throw error;
  }
}
