/** Parts for tests of the swarm: blobs of random bytes, stores in memory, an observer that counts. */
import { randomBytes } from 'node:crypto';
import type { PieceSource, PieceStore, SeedStore, SwarmObserver } from '#swarm';
import { createLogger, type Logger } from '#telemetry';
import { type Metainfo, pieceCount, pieceSize } from '#torrent';
import { metainfoOf } from '../support/metainfo.ts';

export interface TestBlob {
  readonly bytes: Buffer;
  readonly metainfo: Metainfo;
}

/** A blob of `length` random bytes with its metainfo. */
export function makeBlob(length: number): TestBlob {
  const bytes = randomBytes(length);
  return { bytes, metainfo: metainfoOf(bytes) };
}

export interface MemoryStore extends SeedStore {
  readonly bytes: Buffer;
  readonly sources: Map<number, PieceSource>;
  closed: boolean;
}

/** A store in memory; complete when `content` is given. */
export function memoryStore(metainfo: Metainfo, content?: Buffer): MemoryStore {
  const bytes = content ?? Buffer.alloc(metainfo.length);
  const held = new Set<number>();
  if (content !== undefined) for (let piece = 0; piece < pieceCount(metainfo); piece++) held.add(piece);
  const store: MemoryStore = {
    bytes,
    sources: new Map(),
    closed: false,
    has: (piece) => held.has(piece),
    async read(position, into) {
      bytes.copy(into, 0, position, position + into.length);
    },
    async write(piece, data, source) {
      if (data.length !== pieceSize(metainfo, piece)) throw new Error('wrong size');
      bytes.set(data, piece * metainfo.pieceLength);
      await new Promise((resolve) => setImmediate(resolve));
      held.add(piece);
      store.sources.set(piece, source);
    },
    async close() {
      store.closed = true;
    },
  };
  return store satisfies PieceStore;
}

export interface Counts {
  readonly observer: SwarmObserver;
  in: number;
  out: number;
  connected: number;
  readonly rejected: string[];
  readonly unreadable: string[];
}

export function countingObserver(): Counts {
  const counts: Counts = {
    in: 0,
    out: 0,
    connected: 0,
    rejected: [],
    unreadable: [],
    observer: {
      payload(direction, _transport, bytes) {
        counts[direction] += bytes;
      },
      pieceRejected: (_infoHash, peer) => void counts.rejected.push(peer),
      connected: () => void counts.connected++,
      disconnected: () => void counts.connected--,
      seedUnreadable: (infoHash) => void counts.unreadable.push(infoHash),
    },
  };
  return counts;
}

export const quiet: Logger = createLogger({
  program: 'test',
  level: process.env['SWARM_LOG'] === undefined ? 'silent' : 'debug',
});

export const LOOPBACK = { host: '127.0.0.1', port: 0 } as const;

/** Waits for a condition; fails after `deadlineMs`. */
export async function until(condition: () => boolean, what: string, deadlineMs = 20_000): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
