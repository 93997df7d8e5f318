/**
 * One download: it owns which pieces are here, who is asked, who is dialled and who is believed.
 * Pieces come from members through WebTorrent, and from elsewhere through `offer`; each is stored
 * once, whoever is first.
 */
import type { Wire } from 'webtorrent';
import { type Metainfo, pieceCount, pieceHash, pieceSize } from '#torrent';
import type { PieceSource, PieceStore, SeedStore, SwarmDownload } from '../port.ts';
import type { Connection } from './connection.ts';
import { createMembers, type Member } from './members.ts';
import { type EngineParts, type OpenBlob, openBlob } from './open-blob.ts';
import { ORIGIN_GRACE_MS, originUse } from './origin-use.ts';
import { createRequests } from './requests.ts';
import { createVerdicts } from './verdicts.ts';

const RATE_WINDOW_MS = 4_000;

export interface ActiveDownload {
  readonly blob: OpenBlob;
  readonly handle: SwarmDownload;
  /** Called about four times a second. */
  tick(now: number): void;
  /** Ends it with this reason; `completed` rejects when it was not. */
  end(reason: Error): Promise<void>;
}

export interface DownloadOptions {
  readonly parts: EngineParts;
  readonly metainfo: Metainfo;
  readonly store: PieceStore;
  /** Below this rate the other members count as slow, bytes per second. */
  readonly slowBytesPerSecond: number;
  readonly isBannedAddress: (member: Member) => boolean;
  /** Connects and attaches; resolves to undefined when the member cannot be reached. */
  readonly dial: (blob: OpenBlob, member: Member) => Promise<Connection | undefined>;
  /** The blob is seeded from now on and is the swarm's. */
  readonly becomeSeed: (blob: OpenBlob, seed: SeedStore) => void;
  /** Reading failed after it became a seed. */
  readonly unreadableSeed: (error: Error) => void;
  /** The download has ended, whatever the reason; its blob is closed. */
  readonly ended: () => void;
}

export function startDownload(options: DownloadOptions): ActiveDownload {
  const { parts, metainfo, store } = options;
  const pieces = pieceCount(metainfo);
  const startedAt = performance.now();
  const members = createMembers();
  const verdicts = createVerdicts();
  const byWire = new WeakMap<Wire, Connection>();
  const dialled = new Map<Connection, Member>();
  const listeners: ((piece: number, source: PieceSource) => void)[] = [];
  const writing = new Map<number, Promise<void>>();
  const rate = createRate();
  const completed = Promise.withResolvers<void>();
  completed.promise.catch(() => {});
  let phase: 'downloading' | 'complete' | 'seeding' | 'ended' = 'downloading';
  let bytesFromPeers = 0;
  let bytesFromOrigin = 0;
  let slowSince = startedAt;

  /** Stores a verified piece once; others who bring it meanwhile wait for the same write. */
  const keep = (piece: number, bytes: Uint8Array, source: PieceSource): Promise<void> => {
    const running = writing.get(piece);
    if (running !== undefined) return running;
    if (store.has(piece)) return Promise.resolve();
    const write = (async () => {
      await store.write(piece, bytes, source);
      for (const listener of listeners) listener(piece, source);
    })().finally(() => writing.delete(piece));
    writing.set(piece, write);
    return write;
  };

  const sourceOf = (piece: number): PieceSource => {
    const from = [...verdicts.contributors(piece)];
    return from.length > 0 && from.every((connection) => connection.origin) ? 'origin-swarm' : 'peer';
  };

  const end = async (reason: Error): Promise<void> => {
    if (phase === 'seeding' || phase === 'ended') return;
    phase = 'ended';
    completed.reject(reason);
    clearTimeout(graceTimer);
    await blob.close(reason.message);
    await Promise.allSettled(writing.values());
    options.ended();
  };
  const fail = (error: Error): void => {
    end(error).catch(() => {});
  };

  const blob = openBlob(parts, metainfo, store, {
    opened: (connection) => {
      byWire.set(connection.wire, connection);
    },
    closed: (connection) => {
      for (const piece of verdicts.left(connection)) requests.restart(piece);
      const member = dialled.get(connection);
      dialled.delete(connection);
      const other = [...blob.connections].find(
        (c) => c.peerId !== undefined && c.peerId === connection.peerId,
      );
      if (member && other) dialled.set(other, member);
      else if (member) members.ended(member, performance.now(), connection.bytesIn > 0);
    },
    listening: (connection, port) => {
      if (connection.direction === 'out') return;
      const member = members.get(connection.host, port);
      if (!member) return;
      setRole(connection, member.role);
      if (member.state !== 'idle') return;
      // It dialled us: no need to dial it as well.
      member.state = 'connected';
      dialled.set(connection, member);
    },
    availability: (connection, piece, change) => requests.offered(connection, piece, change),
    block: (connection, piece, offset, bytes) => {
      if (connection.origin) bytesFromOrigin += bytes;
      else bytesFromPeers += bytes;
      rate.add(bytes, connection.origin);
      const assembling = blob.torrent.pieces[piece];
      if (assembling && !assembling._flushed && !assembling._buffer?.[offset >> 14])
        verdicts.block(piece, connection);
    },
    keep: (piece, bytes) => keep(piece, bytes, sourceOf(piece)),
    verified: (piece) => {
      verdicts.good(piece);
      requests.ended(piece);
      requests.cancel(piece, blob.connections);
    },
    failed: (piece) => {
      const { culprits, someone } = verdicts.bad(piece);
      requests.ended(piece);
      // Offered and stored meanwhile: WebTorrent must not want it again.
      if (store.has(piece)) blob.torrent.pieces[piece] = null;
      if (someone) parts.observer.pieceRejected(metainfo.infoHash, someone.address);
      for (const culprit of culprits) {
        parts.ban(culprit, `bad piece ${piece}`);
        culprit.close('bad piece');
      }
    },
    ask: (wire) => {
      const connection = byWire.get(wire);
      if (connection && phase === 'downloading') requests.ask(connection);
    },
    done: () => {
      if (phase !== 'downloading') return;
      phase = 'complete';
      blob.complete = true;
      completed.resolve();
    },
    unreadable: (error) => {
      if (phase === 'seeding') return options.unreadableSeed(error);
      if (phase === 'complete') parts.observer.seedUnreadable(metainfo.infoHash, error);
      fail(error);
    },
    broken: (error) => (phase === 'seeding' ? options.unreadableSeed(error) : fail(error)),
  });
  const requests = createRequests({
    metainfo,
    torrent: () => blob.torrent,
    connections: () => blob.connections,
    verdicts,
    pendingWrites: () => writing.size,
  });

  /** Its pieces move from one count to the other. */
  const setRole = (connection: Connection, role: Connection['role']): void => {
    if (connection.role === role) return;
    for (let piece = 0; piece < pieces; piece++)
      if (connection.offers(piece)) requests.offered(connection, piece, -1);
    connection.role = role;
    for (let piece = 0; piece < pieces; piece++)
      if (connection.offers(piece)) requests.offered(connection, piece, 1);
  };

  const missing = (): number[] => {
    const list: number[] = [];
    for (let piece = 0; piece < pieces; piece++) if (!store.has(piece)) list.push(piece);
    return list;
  };

  const dial = (member: Member): void => {
    member.state = 'dialling';
    options
      .dial(blob, member)
      .then((connection) => {
        if (!connection) {
          members.ended(member, performance.now(), false);
          return;
        }
        member.state = 'connected';
        dialled.set(connection, member);
        if (connection.closed) {
          dialled.delete(connection);
          members.ended(member, performance.now(), false);
        }
      })
      .catch(() => members.ended(member, performance.now(), false));
  };

  const tick = (now: number): void => {
    if (phase !== 'downloading' || !blob.torrent.ready) return;
    const connected = [...blob.connections];
    const others = connected.filter((connection) => !connection.origin);
    const introduced = others.filter((connection) => connection.introduced);
    rate.advance(now);
    if (rate.others() >= options.slowBytesPerSecond || introduced.length === 0) slowSince = now;
    const use = originUse({
      ageMs: now - startedAt,
      others: introduced.length,
      introducing: members.introducing(now) + others.length - introduced.length,
      unavailable: missing().filter((piece) => requests.othersWith(piece) === 0).length,
      slowForMs: now - slowSince,
    });
    requests.originUse = use;
    requests.releaseStalled(connected, now);
    const view = { now, connected: connected.length, originUse: use, refused: options.isBannedAddress };
    for (const member of members.due(view)) dial(member);
    blob.torrent._update();
  };
  const tickNow = (): void => tick(performance.now());
  blob.ready.then(tickNow, () => {});
  const graceTimer = setTimeout(tickNow, ORIGIN_GRACE_MS + 1);
  graceTimer.unref();

  const handle: SwarmDownload = {
    completed: completed.promise,
    addPeers: (peers) => {
      members.add(peers);
      for (const [connection, member] of dialled) setRole(connection, member.role);
      tickNow();
    },
    prioritise: (from, to) => {
      const first = Math.max(0, from);
      const last = Math.min(pieces - 1, to);
      requests.window = first <= last ? { from: first, to: last } : undefined;
      if (phase === 'downloading' && blob.torrent.ready) blob.torrent._update();
    },
    offer: async (piece, bytes, source) => {
      if (!Number.isInteger(piece) || piece < 0 || piece >= pieces) return false;
      if (bytes.length !== pieceSize(metainfo, piece) || !(await hashes(bytes, pieceHash(metainfo, piece))))
        return false;
      await blob.ready;
      if (phase !== 'downloading') return true;
      try {
        await keep(piece, bytes, source);
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
        throw error;
      }
      const { torrent } = blob;
      if (torrent.destroyed || torrent.pieces[piece] === null) return true;
      torrent._markVerified(piece);
      for (const wire of torrent.wires) wire.have(piece);
      torrent._checkDone();
      return true;
    },
    onPiece: (listener) => {
      listeners.push(listener);
    },
    stats: () => {
      rate.advance(performance.now());
      return {
        connectedPeers: [...blob.connections].filter((connection) => connection.peerId !== undefined).length,
        downloadRate: rate.all(),
        bytesFromPeers,
        bytesFromOrigin,
        unavailablePieces:
          phase === 'downloading'
            ? missing().filter((piece) => requests.everyoneWith(piece) === 0).length
            : 0,
      };
    },
    seedFrom: (seed) => {
      if (phase === 'downloading') throw new Error('the download is not complete');
      if (phase === 'seeding') throw new Error('the blob is seeded already');
      if (phase === 'complete') phase = 'seeding';
      clearTimeout(graceTimer);
      options.becomeSeed(blob, seed);
    },
    // After seedFrom the blob is the swarm's: nothing is left to close here.
    close: () => end(new Error('the download was closed')),
  };

  return { blob, handle, tick, end };
}

/** SHA-1 in the platform's thread pool. */
async function hashes(bytes: Uint8Array, expected: Uint8Array): Promise<boolean> {
  const digest = await crypto.subtle.digest('SHA-1', bytes as Uint8Array<ArrayBuffer>);
  return Buffer.compare(new Uint8Array(digest), expected) === 0;
}

/** Bytes per second over the last seconds, of all members and of those that are no origin. */
function createRate(): {
  add(bytes: number, origin: boolean): void;
  advance(now: number): void;
  all(): number;
  others(): number;
} {
  const samples: { at: number; all: number; others: number }[] = [];
  let current = { at: performance.now(), all: 0, others: 0 };
  const sum = (key: 'all' | 'others'): number => {
    const from = samples[0]?.at ?? current.at;
    const total = samples.reduce((bytes, sample) => bytes + sample[key], current[key]);
    return total / (Math.max(250, performance.now() - from) / 1000);
  };
  return {
    add: (bytes, origin) => {
      current.all += bytes;
      if (!origin) current.others += bytes;
    },
    advance: (now) => {
      if (now - current.at < 200) return;
      samples.push(current);
      current = { at: now, all: 0, others: 0 };
      while (samples[0] && now - samples[0].at > RATE_WINDOW_MS) samples.shift();
    },
    all: () => sum('all'),
    others: () => sum('others'),
  };
}
