/**
 * The Swarm port: all that the origin and the agent know of peer-to-peer exchange.
 * An engine implements it; another engine may take its place without a change elsewhere.
 *
 * Ownership: who opens a store closes it, with one exception that is named where it happens
 * (a `SeedStore` handed to the swarm is closed by the swarm when the blob falls idle).
 */
import type { MemberAddress } from '#multiaddr';
import type { Digest } from '#oci';
import type { Logger } from '#telemetry';
import type { InfoHash, Torrent } from '#torrent';
import type { Overlay, OverlayOptions } from './overlay/port.ts';

/** How two members are connected; a label of the metrics. */
export type Transport = 'tcp' | 'libp2p';

/** Who a member is on libp2p: a private key (libp2p's protobuf) and the peer id that follows from it. */
export interface Identity {
  /** As text, the form that addresses carry: `12D3KooW…`. */
  readonly peerId: string;
  readonly privateKey: Uint8Array;
}

/**
 * Admission to a cluster, on libp2p. Each side shows the other a membership when they connect; without one
 * that counts nothing is exchanged.
 */
export interface SwarmMembership {
  /** Ours; undefined: we are no member now, and meet nobody. */
  credential(): string | undefined;
  /** Whose a membership is, and until when it counts, in milliseconds since the epoch. Rejects, with the reason, when it does not. */
  check(credential: string): Promise<{ readonly peerId: string; readonly expiresAt: number }>;
  /** Called with a peer id that is no member from now on. */
  onRevoked(listener: (peerId: string) => void): void;
  /** Told of each connection that was refused or ended. Must not throw. */
  refused(peerId: string, reason: string): void;
}

/** What a peer is to us. The origin is a peer like any other, used least. */
export type PeerRole = 'origin' | 'agent';

/** Where to reach a member. `zone` is coarse to fine, split by `/`. */
export interface PeerAddress extends MemberAddress {
  readonly role?: PeerRole;
  readonly zone?: string;
}

/**
 * The bytes of one blob as the swarm needs them. A piece that `has` reports was verified by
 * its hash before it was written. Positions and lengths are bytes of the blob.
 */
export interface PieceStore {
  /** Whether the verified bytes of this piece are here. Synchronous: asked on hot paths. */
  has(piece: number): boolean;
  /** Fills `into` from `position`, all of it inside verified pieces. Rejects when the bytes cannot be read. */
  read(position: number, into: Uint8Array): Promise<void>;
  /** Stores one verified piece; `has(piece)` is true once this resolves. Writing a held piece again is a no-op. */
  write(piece: number, bytes: Uint8Array, source: PieceSource): Promise<void>;
  /**
   * Only of a store that was opened by a draft: asked for each piece whose hash has become known. Its bytes may be here
   * from an earlier run: then they are checked, `has(piece)` is true, and the answer is where they came from.
   */
  recheck?(piece: number): Promise<PieceSource | undefined>;
}

/** Where a piece's bytes came from: other agents or the origin over the swarm, or HTTP. */
export type PieceSource = 'peer' | 'origin-swarm' | 'origin-http' | 'upstream';

/** A blob that can be seeded. The swarm closes it when nobody has asked for a while. */
export interface SeedStore extends PieceStore {
  /** Only of a blob that still grows: called for each piece that `has` reports from now on. The answer ends that. */
  onPiece?(listener: (piece: number) => void): () => void;
  close(): Promise<void>;
}

/** What `lookup` answers for an infohash that we can seed. */
export interface Seed {
  /** The blob's, or its draft. */
  readonly metainfo: Torrent;
  readonly store: SeedStore;
}

/** What the swarm tells its owner, for metrics and for bans. Handlers must not throw. */
export interface SwarmObserver {
  /** Payload bytes (blocks of blobs, no protocol) that were received or sent. */
  payload(direction: 'in' | 'out', transport: Transport, bytes: number, peer: PeerRole): void;
  /** A piece failed its hash; `peer` names a member that sent part of it: host:port, or its libp2p peer id. */
  pieceRejected(infoHash: InfoHash, peer: string): void;
  connected(transport: Transport): void;
  disconnected(transport: Transport): void;
  /** A seed's bytes could not be read: the blob is damaged or gone. The swarm has stopped seeding it. */
  seedUnreadable(infoHash: InfoHash, error: Error): void;
}

/** Bytes per second over all blobs and peers; undefined is no limit. */
export interface SwarmRates {
  readonly uploadRateBytesPerSecond?: number | undefined;
  readonly downloadRateBytesPerSecond?: number | undefined;
}

export interface SwarmOptions extends SwarmRates {
  /** Plain BitTorrent TCP listener; undefined: dial only. Port 0 takes a free port. */
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  /** Who we are on libp2p; without it only plain TCP is spoken. */
  readonly identity?: Identity;
  /** libp2p listener; undefined: dial only. Port 0 takes a free port. */
  readonly peerListen?: { readonly host: string; readonly port: number };
  /** Whether a member with this libp2p peer id takes part. Default: everybody. */
  readonly admit?: (peerId: string) => boolean;
  /** Admission to a cluster, for libp2p; plain TCP has none. */
  readonly membership?: SwarmMembership | undefined;
  /** How members are dialled, first preferred; what is not in it is neither dialled nor, for libp2p, listened on. Default libp2p, then TCP. */
  readonly transports?: readonly Transport[];
  /** Members find each other without a tracker, over libp2p; undefined: they do not, and nothing of it is loaded. */
  readonly overlay?: OverlayOptions;
  /** Lazy seeding: asked when an incoming handshake names a blob that is not open. */
  readonly lookup: (infoHash: InfoHash) => Promise<Seed | undefined>;
  readonly observer: SwarmObserver;
  readonly log: Logger;
  /** Connections over all blobs, incoming and outgoing. Default 500. */
  readonly maxConnections?: number;
  /** Where this member is, coarse to fine, split by `/`; near members are preferred. */
  readonly zone?: string;
  /** A seeded blob without a connected peer is closed after this long. Default 30 s. */
  readonly idleSeedMs?: number;
}

export interface Swarm {
  /** Where members reach us: the bound listener, or undefined when we only dial. */
  readonly address: { readonly host: string; readonly port: number } | undefined;
  /** Where members reach us over libp2p, and who we are there; undefined when we do not listen. */
  readonly libp2p?: { readonly host: string; readonly port: number; readonly peerId: string } | undefined;
  /** Undefined when it was not asked for, or libp2p is not spoken. */
  readonly overlay?: Overlay;
  /** Our 20-byte BitTorrent peer id in hex, for announces. */
  readonly peerId: string;
  /**
   * Starts to download one blob, by its metainfo or its draft. One download a blob at a time; a second throws.
   * Of a draft no piece is asked for before its hash is known.
   */
  download(options: { readonly metainfo: Torrent; readonly store: PieceStore }): SwarmDownload;
  /**
   * Stops seeding this blob now (it is being evicted or deleted) and closes its store; with `digest` also what is open of it
   * under another infohash, its draft's.
   */
  release(infoHash: InfoHash, digest?: Digest): Promise<void>;
  /** Other rates from now on, over all blobs and peers; what is on its way is not called back. */
  limit(rates: SwarmRates): void;
  /** Connected members, for status pages. */
  peers(): PeerInfo[];
  /** Blobs that are open now, downloading or seeding. An idle blob is not among them. */
  openBlobs(): number;
  /** Closes listener, connections and open seeds. Downloads are closed without being completed. */
  close(): Promise<void>;
}

/** A download in progress. All piece state changes go through it, so there is one owner. */
export interface SwarmDownload {
  /** Members from discovery; known ones are ignored. May be called at any time. */
  addPeers(peers: readonly PeerAddress[]): void;
  /** Discovery has answered: an agent that is not known by now is not waited for before the origin is met. */
  discovered(): void;
  /** The pieces a client is waiting for, first wanted first: `from` to `to` inclusive. Replaces the earlier window. */
  prioritise(from: number, to: number): void;
  /**
   * Fills `into` from `position` of the blob when all these bytes came so recently that they are still in
   * memory; false, and nothing is said of `into`, when they must be read from the store.
   */
  recall(position: number, into: Uint8Array): boolean;
  /**
   * Memory to receive a piece from another source in. It goes back by `offer`, which then copies nothing and lets
   * the piece be recalled, or by `giveBack`. Undefined while there is none: what was lent must come back first.
   */
  lend(piece: number): Uint8Array | undefined;
  /** Lent memory in which nothing useful came. */
  giveBack(bytes: Uint8Array): void;
  /** Resolves when the download rate allows so many more bytes from another source. */
  pace(bytes: number): Promise<void>;
  /** While true the origin is neither met nor asked: its bytes come from another source. */
  spareOrigin(spared: boolean): void;
  /**
   * A piece from another source (HTTP). Verified, stored and announced; false when its hash is wrong or not known. The caller
   * does not touch the bytes again.
   */
  offer(piece: number, bytes: Uint8Array, source: PieceSource): Promise<boolean>;
  /** Called for each piece that was verified and stored, whoever brought it. */
  onPiece(listener: (piece: number, source: PieceSource) => void): void;
  stats(): DownloadStats;
  /** Resolves when every piece is stored. Rejects when the store fails (disk full) or on `close`. */
  readonly completed: Promise<void>;
  /**
   * After `completed`: keeps the connected peers and seeds them from `seed`, which the swarm
   * closes when the blob falls idle. The download's own store is not used again.
   */
  seedFrom(seed: SeedStore): void;
  /** Leaves: closes the connections. The partial store is left as it is, and is the caller's. */
  close(): Promise<void>;
}

export interface DownloadStats {
  readonly connectedPeers: number;
  /** Those that are not origins. */
  readonly connectedAgents: number;
  /** Bytes per second received over the swarm, over the last few seconds. */
  readonly downloadRate: number;
  readonly bytesFromPeers: number;
  readonly bytesFromOrigin: number;
  /** Pieces that no connected peer has and that are still missing here. */
  readonly unavailablePieces: number;
}

export interface PeerInfo {
  readonly infoHash: InfoHash;
  readonly address: string;
  readonly transport: Transport;
  readonly role: PeerRole;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** It wants pieces that we have. */
  readonly interested: boolean;
}
