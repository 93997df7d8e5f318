/**
 * One blob that is open in WebTorrent, being downloaded or seeded: its torrent over the caller's
 * piece store (there is no second copy of the bytes), and the connections that exchange it.
 * What is done with pieces and peers is decided by its owner (`download.ts`, `seeds.ts`).
 */
import type { Socket } from 'node:net';
import type WebTorrent from 'webtorrent';
import type { ChunkStore, Torrent, Wire } from 'webtorrent';
import { type Metainfo, pieceCount, pieceSize } from '#torrent';
import type { PeerRole, PieceStore, SwarmObserver } from '../port.ts';
import type { BlockCache } from './block-cache.ts';
import { type Connection, type ConnectionEvents, openConnection } from './connection.ts';

/** Slots for peers that we serve at once: members cooperate, so none is choked. */
const UPLOAD_SLOTS = 10_000;

/** What all open blobs share. */
export interface EngineParts {
  readonly client: WebTorrent;
  readonly cache: BlockCache;
  readonly observer: SwarmObserver;
  readonly listenPort: () => number | undefined;
  /** The member is to be refused for a while. */
  readonly ban: (connection: Connection, reason: string) => void;
  readonly isBanned: (peerId: string) => boolean;
  readonly ownPeerId: string;
}

export interface OpenBlob {
  readonly metainfo: Metainfo;
  readonly torrent: Torrent;
  readonly connections: ReadonlySet<Connection>;
  readonly closed: boolean;
  /** Resolves when peers may be attached. Rejects when the blob was closed before. */
  readonly ready: Promise<void>;
  /** When the last connection ended, or the blob was opened. */
  readonly idleSince: number;
  store: PieceStore;
  /** Every piece is held. */
  complete: boolean;
  /** Takes a connected socket over. The blob must be ready. */
  attach(member: {
    readonly socket: Socket;
    readonly direction: 'in' | 'out';
    readonly host: string;
    readonly port: number;
    readonly role: PeerRole;
  }): Connection;
  /** Closes connections that are dead or of no use: of two complete members neither needs the other. */
  sweep(now: number, idleMs: number): void;
  /** Ends all connections and the torrent. Resolves when no read or write of the store is running. */
  close(reason: string): Promise<void>;
}

export interface OpenBlobHooks extends Pick<ConnectionEvents, 'availability' | 'block' | 'listening'> {
  opened(connection: Connection): void;
  closed(connection: Connection): void;
  /** WebTorrent assembled a piece whose hash is right. */
  keep(piece: number, bytes: Uint8Array): Promise<void>;
  /** The piece is known as held from now on. Called at least once for each. */
  verified(piece: number): void;
  /** WebTorrent assembled a piece whose hash is wrong, and forgot it. */
  failed(piece: number): void;
  /** A wire has room for requests. */
  ask(wire: Wire): void;
  /** All pieces are held. */
  done(): void;
  /** The store could not be read for a member. */
  unreadable(error: Error): void;
  /** The torrent ended by itself: the store could not be written, or WebTorrent failed. */
  broken(error: Error): void;
}

export function openBlob(
  parts: EngineParts,
  metainfo: Metainfo,
  initialStore: PieceStore,
  hooks: OpenBlobHooks,
): OpenBlob {
  const pieces = pieceCount(metainfo);
  const connections = new Set<Connection>();
  const running = new Set<Promise<unknown>>();
  let closed = false;

  const track = <T>(work: Promise<T>): Promise<T> => {
    running.add(work);
    const done = (): unknown => running.delete(work);
    work.then(done, done);
    return work;
  };

  const read = async (piece: number, offset: number, length: number): Promise<Uint8Array> => {
    const { store } = blob;
    const at = { position: piece * metainfo.pieceLength, size: pieceSize(metainfo, piece) };
    try {
      return await track(parts.cache.read(store, at, offset, length));
    } catch (error) {
      // The store was exchanged (the download's for the cache's) while this read was running.
      if (blob.store !== store && !closed)
        return await track(parts.cache.read(blob.store, at, offset, length));
      throw error;
    }
  };

  const chunkStore: ChunkStore = {
    chunkLength: metainfo.pieceLength,
    put: (index, bytes, done) => {
      track(hooks.keep(index, bytes)).then(() => done(null), done);
    },
    get: (index, range, done) => {
      const offset = range?.offset ?? 0;
      read(index, offset, range?.length ?? pieceSize(metainfo, index) - offset).then(
        (block) => done(null, block),
        done,
      );
    },
    close: (done) => done(null),
    destroy: (done) => done(null),
  };

  const torrent = parts.client.add(torrentFile(metainfo), {
    preloadedStore: chunkStore,
    storeCacheSlots: 0,
    bitfield: heldBits(initialStore, pieces),
    deselect: true,
    alwaysChokeSeeders: false,
    uploads: UPLOAD_SLOTS,
  });
  // Each held piece was verified before it was stored; WebTorrent would read and hash some again.
  torrent._verifyPieces = (done) => queueMicrotask(() => done(null));
  torrent._updateWire = hooks.ask;
  // WebTorrent updates all wires for every single block; once a turn of the event loop is enough.
  let updateAsked = false;
  torrent._update = () => {
    if (updateAsked) return;
    updateAsked = true;
    setImmediate(() => {
      updateAsked = false;
      if (!closed) torrent._updateWireWrapper();
    });
  };
  torrent.on('verified', hooks.verified);
  torrent.on('done', hooks.done);
  torrent.on('warning', (warning: unknown) => {
    const piece =
      warning instanceof Error ? /^Piece (\d+) failed verification$/.exec(warning.message)?.[1] : undefined;
    if (piece !== undefined) hooks.failed(Number(piece));
  });

  const ready = new Promise<void>((resolve, reject) => {
    torrent.once('ready', resolve);
    torrent.once('close', () => reject(new Error('the blob was closed')));
    torrent.on('error', (error: unknown) => {
      const cause = error instanceof Error ? error : new Error(String(error));
      reject(cause);
      if (!closed) hooks.broken(cause);
    });
  });
  ready.catch(() => {});

  const events: ConnectionEvents = {
    opened: (connection) => {
      parts.observer.connected('tcp');
      if (connection.peerId !== undefined && parts.isBanned(connection.peerId)) {
        connection.close('banned');
        return;
      }
      hooks.opened(connection);
      dropDuplicate(connection);
    },
    closed: (connection, opened) => {
      connections.delete(connection);
      if (connections.size === 0) idleSince = performance.now();
      hooks.closed(connection);
      if (opened) parts.observer.disconnected('tcp');
    },
    violated: parts.ban,
    availability: hooks.availability,
    listening: hooks.listening,
    block: (connection, piece, offset, bytes) => {
      parts.observer.payload('in', 'tcp', bytes, connection.role);
      hooks.block(connection, piece, offset, bytes);
    },
    uploaded: (connection, bytes) => parts.observer.payload('out', 'tcp', bytes, connection.role),
    unreadable: hooks.unreadable,
  };

  /**
   * Two members that dialled each other have two connections. Both ends keep the one that was opened
   * by the greater peer id. Of two in the same direction the dialler gives up its second.
   */
  const dropDuplicate = (added: Connection): void => {
    for (const other of connections) {
      if (other === added || other.peerId !== added.peerId || added.peerId === undefined) continue;
      if (other.direction === added.direction) {
        if (added.direction === 'out') added.close('already connected');
        return;
      }
      const ours = added.direction === 'out' ? added : other;
      const theirs = ours === added ? other : added;
      const dropped = parts.ownPeerId > added.peerId ? theirs : ours;
      const kept = dropped === ours ? theirs : ours;
      // What we know of the address that we dialled is true of the member.
      kept.role = ours.role;
      dropped.close('already connected');
      return;
    }
  };

  let idleSince = performance.now();
  let closing: Promise<void> | undefined;

  const blob: OpenBlob = {
    metainfo,
    torrent,
    connections,
    ready,
    store: initialStore,
    complete: false,
    get closed() {
      return closed;
    },
    get idleSince() {
      return idleSince;
    },
    attach: (member) => {
      const connection = openConnection({
        ...member,
        torrent,
        throttleGroups: parts.client.throttleGroups,
        pieces,
        source: {
          has: (piece) => blob.store.has(piece),
          pieceSize: (piece) => pieceSize(metainfo, piece),
          read,
        },
        listenPort: parts.listenPort(),
        events,
      });
      connections.add(connection);
      return connection;
    },
    sweep: (now, idleMs) => {
      for (const connection of [...connections]) {
        if (connection.dead(now)) connection.close('silent');
        else if (!blob.complete) continue;
        else if (connection.complete) connection.close('both complete');
        else if (now - connection.lastBlockAt > idleMs) connection.close('idle');
      }
    },
    close: (reason) => {
      closing ??= (async () => {
        closed = true;
        for (const connection of [...connections]) connection.close(reason);
        if (!torrent.destroyed) await new Promise<void>((resolve) => torrent.destroy(() => resolve()));
        while (running.size > 0) await Promise.allSettled(running);
      })();
      return closing;
    },
  };
  return blob;
}

/** BEP 3 bitfield: the first piece is the highest bit of the first byte. */
function heldBits(store: PieceStore, pieces: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(pieces / 8));
  for (let piece = 0; piece < pieces; piece++) {
    if (store.has(piece)) bits[piece >> 3] = (bits[piece >> 3] ?? 0) | (0x80 >> (piece & 7));
  }
  return bits;
}

/** The smallest metainfo file: no tracker and no web seed, so WebTorrent looks for nothing itself. */
function torrentFile(metainfo: Metainfo): Uint8Array {
  return Buffer.concat([Buffer.from('d4:info'), metainfo.info, Buffer.from('e')]);
}
