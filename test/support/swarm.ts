/**
 * Swarm members inside the test's process: blobs made on the spot, an in-memory piece store (a real
 * second implementation of the port), swarms on the loopback that count what their observer hears.
 */
import type { Test } from 'tap';
import { digestHex } from '#oci';
import {
  createSwarm,
  type PieceSource,
  type PieceStore,
  type Seed,
  type SeedStore,
  type Swarm,
  type SwarmOptions,
} from '#swarm';
import { createLogger } from '#telemetry';
import { type InfoHash, type Metainfo, pieceCount, pieceSize } from '#torrent';
import { content } from './content.ts';
import { metainfoOf } from './metainfo.ts';

export interface TestBlob {
  readonly bytes: Buffer;
  readonly sha256: string;
  readonly metainfo: Metainfo;
}

let nextSeed = process.pid * 1000;

/** A blob of random-looking bytes that no other test has. */
export function makeBlob(size: number): TestBlob {
  nextSeed += 1;
  const bytes = Buffer.concat([...content(nextSeed, size)]);
  const metainfo = metainfoOf(bytes);
  return { bytes, sha256: digestHex(metainfo.digest), metainfo };
}

export interface MemoryStore extends SeedStore {
  readonly bytes: Buffer;
  /** Where each piece came from, in the order they were written. */
  readonly written: { readonly piece: number; readonly source: PieceSource }[];
  /** How often `close` was called. */
  closed: number;
  reads: number;
}

/** Empty, or holding the pieces of `held`. */
export function memoryStore(blob: TestBlob, held: 'none' | 'all' | readonly number[] = 'none'): MemoryStore {
  const { metainfo } = blob;
  const bytes = Buffer.alloc(metainfo.length);
  const has = new Set(held === 'none' ? [] : held === 'all' ? Array(pieceCount(metainfo)).keys() : held);
  for (const piece of has) {
    const at = piece * metainfo.pieceLength;
    blob.bytes.copy(bytes, at, at, at + pieceSize(metainfo, piece));
  }
  const store: MemoryStore = {
    bytes,
    written: [],
    closed: 0,
    reads: 0,
    has: (piece) => has.has(piece),
    read: async (position, into) => {
      store.reads += 1;
      bytes.copy(into, 0, position, position + into.length);
    },
    write: async (piece, from, source) => {
      bytes.set(from, piece * metainfo.pieceLength);
      store.written.push({ piece, source });
      await new Promise(setImmediate);
      has.add(piece);
    },
    close: async () => {
      store.closed += 1;
    },
  };
  return store;
}

export interface Heard {
  readonly inFrom: { agent: number; origin: number };
  readonly outTo: { agent: number; origin: number };
  connected: number;
  disconnected: number;
  readonly rejected: string[];
  readonly unreadable: Error[];
}

export interface TestSwarm extends Swarm {
  readonly heard: Heard;
  readonly host: string;
  readonly port: number;
  /** Lets `lookup` answer with this blob. Returns the store of the seed. */
  seed(blob: TestBlob, store?: SeedStore): SeedStore;
  /** How often `lookup` was asked. */
  lookups: number;
}

const level = process.env['SHOAL_TEST_LOG'] === undefined ? 'silent' : 'debug';

/** A swarm that listens on the loopback and is closed when the test ends. */
export async function makeSwarm(t: Test, options: Partial<SwarmOptions> = {}): Promise<TestSwarm> {
  const seeds = new Map<InfoHash, Seed>();
  const heard: Heard = {
    inFrom: { agent: 0, origin: 0 },
    outTo: { agent: 0, origin: 0 },
    connected: 0,
    disconnected: 0,
    rejected: [],
    unreadable: [],
  };
  const swarm = await createSwarm({
    listen: { host: '127.0.0.1', port: 0 },
    lookup: async (infoHash) => {
      made.lookups += 1;
      return seeds.get(infoHash);
    },
    observer: {
      payload: (direction, _transport, bytes, peer) => {
        (direction === 'in' ? heard.inFrom : heard.outTo)[peer] += bytes;
      },
      pieceRejected: (_infoHash, peer) => {
        heard.rejected.push(peer);
      },
      connected: () => {
        heard.connected += 1;
      },
      disconnected: () => {
        heard.disconnected += 1;
      },
      seedUnreadable: (_infoHash, error) => {
        heard.unreadable.push(error);
      },
    },
    log: createLogger({ program: 'test', level }),
    ...options,
  });
  const made: TestSwarm = {
    ...swarm,
    heard,
    host: swarm.address?.host ?? '',
    port: swarm.address?.port ?? 0,
    lookups: 0,
    seed: (blob, store = memoryStore(blob, 'all')) => {
      seeds.set(blob.metainfo.infoHash, { metainfo: blob.metainfo, store });
      return store;
    },
  };
  t.teardown(() => made.close());
  return made;
}

/** Asks again and again until it holds; the test's own timeout is the deadline. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A store that fails in a way of the test's choice, over one that works. */
export function brokenStore(store: MemoryStore, broken: Partial<PieceStore>): SeedStore {
  return { ...store, has: store.has, ...broken };
}
