/**
 * Just what this engine uses of WebTorrent 3.0.21 and bittorrent-protocol 5, which have no types.
 * Names with an underscore are WebTorrent's own internals; the exact version is pinned for them.
 */
declare module 'webtorrent' {
  import type { EventEmitter } from 'node:events';
  import type { Server } from 'node:net';

  /** A block that we asked of a peer. */
  export interface WireRequest {
    readonly piece: number;
    readonly offset: number;
    readonly length: number;
  }

  /** One peer's protocol state machine (bittorrent-protocol). */
  export interface Wire extends EventEmitter {
    readonly peerId: string | null;
    readonly amChoking: boolean;
    readonly peerChoking: boolean;
    readonly peerInterested: boolean;
    readonly hasFast: boolean;
    readonly requests: WireRequest[];
    readonly peerPieces: { get(index: number): boolean };
    readonly extendedHandshake: Record<string, unknown>;
    readonly peerExtendedHandshake: Record<string, unknown>;
    readonly lt_donthave?: EventEmitter;
    downloaded: number;
    /** Records bytes when given some; bytes per second over the last five seconds. */
    downloadSpeed: (bytes?: number) => number;
    setTimeout(ms: number, unref: boolean): void;
    piece(index: number, offset: number, block: Uint8Array): void;
    have(index: number): void;
    unchoke(): void;
    cancel(index: number, offset: number, length: number): void;
    reject(index: number, offset: number, length: number): void;
    _parse(size: number, parser: (bytes: Uint8Array) => void): void;
    _push(data: Uint8Array): unknown;
    _pull(requests: WireRequest[], piece: number, offset: number, length: number): WireRequest | null;
    _callback(request: WireRequest, error: Error | null, block: Uint8Array | null): void;
    _onMessageLength(bytes: Uint8Array): void;
    _onMessage(message: Uint8Array): void;
    _onRequest(index: number, offset: number, length: number): void;
    _onPiece(index: number, offset: number, block: Uint8Array): void;
    _onCancel(index: number, offset: number, length: number): void;
    _onReject(index: number, offset: number, length: number): void;
  }

  /** A piece that is being assembled from blocks (torrent-piece). */
  export interface OpenPiece {
    readonly length: number;
    readonly missing: number;
    /** Makes a block free to be reserved again. */
    cancel(block: number): void;
    readonly _chunks: number;
    readonly _reservations: number;
    readonly _cancellations: readonly number[] | null;
    readonly _buffer: readonly (Uint8Array | undefined)[] | null;
    readonly _flushed: boolean;
  }

  /** abstract-chunk-store, with callbacks as WebTorrent calls it. */
  export interface ChunkStore {
    readonly chunkLength: number;
    put(index: number, bytes: Uint8Array, done: (error: Error | null) => void): void;
    get(
      index: number,
      range: { readonly offset?: number; readonly length?: number } | null,
      done: (error: Error | null, bytes?: Uint8Array) => void,
    ): void;
    close(done: (error: Error | null) => void): void;
    destroy(done: (error: Error | null) => void): void;
  }

  export interface TorrentOptions {
    readonly preloadedStore: ChunkStore;
    readonly storeCacheSlots: number;
    /** The pieces that the store holds, first piece in the highest bit. */
    readonly bitfield: Uint8Array;
    readonly deselect: boolean;
    readonly alwaysChokeSeeders: boolean;
    readonly uploads: number;
  }

  export interface Torrent extends EventEmitter {
    readonly ready: boolean;
    readonly destroyed: boolean;
    readonly wires: Wire[];
    /** A held piece is null. */
    readonly pieces: (OpenPiece | null)[];
    destroy(done: (error?: Error | null) => void): void;
    _verifyPieces: (done: (error: Error | null) => void) => void;
    _update: () => void;
    _updateWire: (wire: Wire) => void;
    _updateWireWrapper(): void;
    _markVerified(index: number): void;
    _checkDone(): boolean;
    /** Asks the wire for a free block of the piece; false when there is none or enough is asked. */
    _request(wire: Wire, index: number, hotswap: boolean): boolean;
    _registerPeer(peer: import('webtorrent/lib/peer.js').default): void;
  }

  export interface ThrottleGroups {
    readonly down: object;
    readonly up: object;
  }

  export interface ClientOptions {
    readonly peerId: string;
    /** Handed to `net.Server.listen` as it is, so an object with a host works too. */
    readonly torrentPort: { readonly host: string; readonly port: number };
    readonly dht: false;
    readonly lsd: false;
    readonly utPex: false;
    readonly natUpnp: false;
    readonly natPmp: false;
    readonly utp: false;
    readonly tracker: false;
    readonly webSeeds: false;
    readonly secure: 0;
    readonly downloadLimit: number;
    readonly uploadLimit: number;
  }

  export default class WebTorrent extends EventEmitter {
    constructor(options: ClientOptions);
    readonly destroyed: boolean;
    readonly throttleGroups: ThrottleGroups;
    readonly _connPool: {
      readonly tcpServer: Server;
      readonly _onTCPConnectionBound: (socket: import('node:net').Socket) => void;
    };
    add(torrentFile: Uint8Array, options: TorrentOptions): Torrent;
    destroy(done: (error?: Error | null) => void): void;
  }
}

declare module 'webtorrent/lib/peer.js' {
  import { EventEmitter } from 'node:events';
  import type { Socket } from 'node:net';
  import type { ThrottleGroups, Torrent, Wire } from 'webtorrent';

  /** A connection of a torrent: socket, throttles and wire. */
  export default class Peer extends EventEmitter {
    constructor(id: string, type: 'tcpIncoming' | 'tcpOutgoing', secure: 0);
    readonly destroyed: boolean;
    addr: string | null;
    conn: Socket | null;
    swarm: Torrent | null;
    throttleGroups: ThrottleGroups;
    readonly wire: Wire | null;
    /** Makes the wire, joins it to the socket and, when outgoing, sends the handshake. */
    onConnect(): void;
    destroy(error?: Error): void;
  }
}
