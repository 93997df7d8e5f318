/**
 * One member that we exchange one blob with: its socket, WebTorrent's peer and wire over it, the
 * guards on what it may send, what it has, and what came and went. It promises to be closed
 * exactly once and to report it exactly once; no error of it goes anywhere else.
 */
import type { Socket } from 'node:net';
import type { ThrottleGroups, Torrent, Wire } from 'webtorrent';
import Peer from 'webtorrent/lib/peer.js';
import type { PeerRole } from '../port.ts';
import type { MemberView } from './picker.ts';
import { REQUEST_QUEUE, serveRequests, type UploadSource } from './upload-queue.ts';
import { guardWire } from './wire-guard.ts';

/** A peer that was asked for blocks and sends none for this long is cut. */
const BLOCK_TIMEOUT_MS = 10_000;
/** Keep-alives come at least every two minutes (BEP 3). */
const SILENCE_MS = 150_000;
/** A peer that takes no byte of what we send for this long is gone. */
const UNSENT_MS = 60_000;
/** Rejects of blocks (not by choking) without any block between them. */
const MAX_REJECTS = 100;
/** A piece that was rejected so often is not asked of this peer again. */
const REJECTS_A_PIECE = 3;
/** Blocks that we did not ask for, or no longer. Late ones are normal. */
const MAX_UNASKED_BLOCKS = 2_048;
/**
 * The pipeline holds about a second of blocks at the measured speed. The floor lets a new peer show
 * its speed; the ceiling bounds memory (4 MiB outstanding fill 40 MiB/s at 100 ms).
 */
const PIPELINE_FLOOR = 1024 * 1024;
const PIPELINE_CEILING = 4 * 1024 * 1024;

export interface Connection extends MemberView {
  readonly wire: Wire;
  readonly host: string;
  readonly port: number;
  /** host:port as the socket has it. */
  readonly address: string;
  readonly direction: 'in' | 'out';
  /** Known once the handshakes are done. */
  peerId: string | undefined;
  role: PeerRole;
  onParole: boolean;
  /** It has said which pieces it has. */
  introduced: boolean;
  /** It has every piece. */
  complete: boolean;
  /** Its requests have been given to others, and it gets no new ones until a block comes. */
  stalled: boolean;
  bytesIn: number;
  bytesOut: number;
  readonly openedAt: number;
  /** When the last block came or went. */
  lastBlockAt: number;
  /** When the oldest of the requests that are not answered began to wait. */
  waitingSince: number;
  readonly closed: boolean;
  /** Whether it is of no use any more: silent, or not taking our bytes. */
  dead(now: number): boolean;
  /** Bytes per second, over the last seconds. */
  speed(): number;
  close(reason: string): void;
}

export interface ConnectionEvents {
  /** The handshakes are done. */
  opened(connection: Connection): void;
  /** Called once for each connection; `opened` says whether that was ever called. */
  closed(connection: Connection, opened: boolean): void;
  /** The member broke the protocol; the connection is being closed. */
  violated(connection: Connection, reason: string): void;
  /** It has this piece now, or no longer. */
  availability(connection: Connection, piece: number, change: 1 | -1): void;
  /** A block that we asked for came; the piece may be complete after this. */
  block(connection: Connection, piece: number, offset: number, bytes: number): void;
  uploaded(connection: Connection, bytes: number): void;
  unreadable(error: Error): void;
  /** The member told the port that it listens on (BEP 10 `p`). */
  listening(connection: Connection, port: number): void;
}

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly direction: 'in' | 'out';
  readonly host: string;
  readonly port: number;
  readonly role: PeerRole;
  readonly torrent: Torrent;
  readonly throttleGroups: ThrottleGroups;
  readonly pieces: number;
  readonly source: UploadSource;
  /** Our own listener's port, told to the member. */
  readonly listenPort: number | undefined;
  readonly events: ConnectionEvents;
}

/** The socket is connected. Incoming: nothing of it has been consumed. */
export function openConnection(options: ConnectionOptions): Connection {
  const { socket, direction, host, port, torrent, pieces, events } = options;
  const address = `${host}:${port}`;
  const peer = new Peer(address, direction === 'in' ? 'tcpIncoming' : 'tcpOutgoing', 0);
  peer.addr = address;
  peer.conn = socket;
  peer.swarm = torrent;
  peer.throttleGroups = options.throttleGroups;
  torrent._registerPeer(peer);
  socket.on('error', () => {});
  peer.onConnect();
  const wire = peer.wire;
  if (!wire) throw new Error('WebTorrent made no wire');
  wire.on('error', () => {});

  /** 0 it has not, 1 it has, 2 it has but refuses. */
  const has = new Uint8Array(pieces);
  const rejects = new Map<number, number>();
  let held = 0;
  let rejectsInARow = 0;
  let unasked = 0;
  let opened = false;
  let closed = false;
  const openedAt = performance.now();
  let heardAt = openedAt;
  let tookAt = openedAt;

  const violate = (reason: string): void => {
    if (closed) return;
    events.violated(connection, reason);
    connection.close(reason);
  };
  const guard = guardWire(wire, pieces, violate);
  const uploads = serveRequests({
    wire,
    guard,
    source: options.source,
    violate,
    uploaded: (bytes) => {
      connection.bytesOut += bytes;
      connection.lastBlockAt = performance.now();
      events.uploaded(connection, bytes);
    },
    unreadable: events.unreadable,
  });

  const measured = wire.downloadSpeed;
  wire.downloadSpeed = (bytes) => Math.min(PIPELINE_CEILING, Math.max(PIPELINE_FLOOR, measured(bytes)));

  const connection: Connection = {
    wire,
    host,
    port,
    address,
    direction,
    peerId: undefined,
    role: options.role,
    onParole: false,
    introduced: false,
    complete: false,
    stalled: false,
    bytesIn: 0,
    bytesOut: 0,
    openedAt,
    lastBlockAt: openedAt,
    waitingSince: openedAt,
    get origin() {
      return connection.role === 'origin';
    },
    get closed() {
      return closed;
    },
    offers: (piece) => has[piece] === 1,
    speed: () => measured(),
    dead: (now) => now - heardAt > SILENCE_MS || (uploads.unsent() > 0 && now - tookAt > UNSENT_MS),
    close: (reason) => {
      if (!peer.destroyed) peer.destroy(new Error(reason));
      finish();
    },
  };

  const finish = (): void => {
    if (closed) return;
    closed = true;
    uploads.close();
    for (let piece = 0; piece < pieces; piece++) mark(piece, false);
    socket.destroy();
    events.closed(connection, opened);
  };
  peer.once('disconnect', finish);
  socket.once('close', finish);

  const mark = (piece: number, present: boolean): void => {
    const before = has[piece] ?? 0;
    if (before > 0 === present) return;
    has[piece] = present ? 1 : 0;
    held += present ? 1 : -1;
    connection.complete = held === pieces;
    if (before < 2) events.availability(connection, piece, present ? 1 : -1);
  };
  const refused = (piece: number): void => {
    const times = (rejects.get(piece) ?? 0) + 1;
    rejects.set(piece, times);
    if (times < REJECTS_A_PIECE || has[piece] !== 1) return;
    has[piece] = 2;
    events.availability(connection, piece, -1);
  };
  const introduce = (): void => {
    connection.introduced = true;
    for (let piece = 0; piece < pieces; piece++) mark(piece, wire.peerPieces.get(piece));
  };
  wire.on('have', (piece: number) => {
    connection.introduced = true;
    mark(piece, true);
  });
  wire.on('bitfield', introduce);
  wire.on('have-all', introduce);
  wire.on('have-none', () => {
    connection.introduced = true;
  });
  // WebTorrent listens for it a little later than a member may send it behind its handshake.
  wire.on('interested', () => queueMicrotask(() => wire.unchoke()));
  wire.on('unchoke', () => {
    connection.waitingSince = performance.now();
  });

  wire.extendedHandshake['reqq'] = REQUEST_QUEUE;
  wire.extendedHandshake['v'] = 'Shoal';
  if (options.listenPort !== undefined) wire.extendedHandshake['p'] = options.listenPort;

  // Registered after the peer's own listener, so the torrent has taken the wire when this runs.
  wire.once('handshake', (_infoHash: string, peerId: string) => {
    if (closed || peer.destroyed) return;
    opened = true;
    connection.peerId = peerId;
    wire.setTimeout(BLOCK_TIMEOUT_MS, true);
    wire.lt_donthave?.on('donthave', (piece: number) => {
      if (piece < pieces) mark(piece, false);
    });
    events.opened(connection);
  });
  wire.on('extended', (kind: unknown) => {
    const listenPort = wire.peerExtendedHandshake['p'];
    if (kind !== 'handshake' || typeof listenPort !== 'number') return;
    if (Number.isInteger(listenPort) && listenPort > 0 && listenPort < 65536)
      events.listening(connection, listenPort);
  });
  peer.on('download', () => {
    heardAt = performance.now();
  });
  peer.on('upload', (bytes: number) => {
    tookAt = performance.now();
    uploads.sent(bytes);
  });

  wire._onPiece = (piece, offset, block) => {
    const request = wire._pull(wire.requests, piece, offset, block.length);
    if (!request) {
      if (++unasked > MAX_UNASKED_BLOCKS) violate('blocks that nobody asked for');
      return;
    }
    rejectsInARow = 0;
    connection.stalled = false;
    connection.bytesIn += block.length;
    connection.lastBlockAt = performance.now();
    connection.waitingSince = connection.lastBlockAt;
    wire.downloaded += block.length;
    measured(block.length);
    events.block(connection, piece, offset, block.length);
    wire._callback(request, null, block);
  };

  wire._onReject = (piece, offset, length) => {
    if (!wire.hasFast) return violate('reject without the fast extension');
    const request = wire._pull(wire.requests, piece, offset, length);
    // A cancelled request is answered by a reject as well, and a choke rejects all that wait (BEP 6).
    if (!request) return;
    // First of all the block is free for others again.
    wire._callback(request, new Error('request was rejected'), null);
    if (wire.peerChoking) return;
    refused(piece);
    // WebTorrent asks again without end: a seed that cannot read would keep both busy for ever.
    rejectsInARow += 1;
    if (rejectsInARow > MAX_REJECTS) violate('it rejects every request');
  };

  return connection;
}
