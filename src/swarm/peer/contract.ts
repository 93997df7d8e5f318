/** What a peer is told, what it tells, and what can be read of it. */
import type { PeerAddress, PeerRole } from '../port.ts';
import type { RateLimiter } from '../rate/index.ts';
import type { Connection } from '../transport/index.ts';
import type { AskedTally, BlockPlace } from './asked.ts';
import type { SendMemory } from './memory.ts';

/** What a peer tells its owner. Called during the arrival of bytes; `peer` may be closed in them. */
export interface PeerEvents {
  /** It has this piece; the answer is false when that was known. */
  have(peer: Peer, piece: number): boolean;
  /** Its pieces, mostly at the beginning: a bitfield as on the wire (valid during the call), all of them, or none. */
  pieces(peer: Peer, bits: Uint8Array | 'all' | 'none'): void;
  /** It chokes us: requests to it are void, and those in `dropped` were out. */
  choked(peer: Peer, dropped: readonly BlockPlace[]): void;
  unchoked(peer: Peer): void;
  interested(peer: Peer): void;
  /** It will not send this block. */
  rejected(peer: Peer, piece: number, offset: number): void;
  /** A block that we asked for begins: the bytes of its piece, or undefined when it is no longer wanted. */
  blockStart(peer: Peer, piece: number, offset: number): Uint8Array | undefined;
  /** A block that we asked for is complete; `stored` when it is where `blockStart` said. */
  blockEnd(peer: Peer, piece: number, offset: number, length: number, stored: boolean): void;
  /** A batch of bytes was handled in which blocks ended or pieces were told: the time to ask for more. */
  arrived(peer: Peer): void;
  /** Block bytes were handed to the system. */
  sent(peer: Peer, bytes: number): void;
  /** The last block of a piece went out to it. */
  served(peer: Peer, piece: number): void;
  /** Its extended handshake (BEP 10) came. */
  introduced(peer: Peer, about: { readonly port?: number; readonly seed?: true }): void;
  /** Our store cannot be read. */
  unreadable(error: Error): void;
  /** It broke the rules and is about to be closed. */
  offended(peer: Peer, reason: string): void;
  closed(peer: Peer, reason: string): void;
}

export interface PeerOptions {
  readonly connection: Connection;
  /** From their handshake. */
  readonly peerId: string;
  readonly fast: boolean;
  readonly extended: boolean;
  /** Where they listen, when we know it. */
  readonly address: PeerAddress | undefined;
  readonly pieceCount: number;
  readonly pieceLength: number;
  readonly pieceSize: (piece: number) => number;
  /** The info dictionary, for members that have only a magnet link. */
  readonly info: Uint8Array;
  readonly holds: (piece: number) => boolean;
  /** Fills `into` at once with bytes that are still in memory; false when they must be read. */
  readonly recall: (position: number, into: Uint8Array) => boolean;
  readonly read: (position: number, into: Uint8Array) => Promise<void>;
  readonly memory: SendMemory;
  readonly uploadLimiter: RateLimiter;
  /** Requests that are out at all peers of the blob, these included. */
  readonly asked: AskedTally;
  /** Our listening port and zone, told in the extended handshake. */
  readonly listenPort: number | undefined;
  readonly ourZone: string | undefined;
  readonly events: PeerEvents;
  readonly now: () => number;
}

export interface Peer {
  readonly peerId: string;
  /** Their key on libp2p; else host:port where they listen when we know it, or where the connection comes from. */
  readonly label: string;
  readonly connection: Connection;
  readonly fast: boolean;
  readonly connectedAt: number;
  /** Where they listen, when we know it. */
  address: PeerAddress | undefined;
  readonly role: PeerRole;
  /** Its zone, when it or discovery told. */
  readonly zone: string | undefined;
  /** They choke us. */
  readonly choking: boolean;
  /** They want our pieces. */
  readonly interested: boolean;
  readonly amChoking: boolean;
  readonly amInterested: boolean;
  /** It has told which pieces it has (or that it has none). */
  readonly told: boolean;
  /** Requests that are out. */
  readonly outstanding: number;
  /** Requests that they take at once. */
  readonly requestQueue: number;
  /** Requests of theirs that wait. */
  readonly wanted: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** When the last bytes of a block came, or a request went out to a peer without any. */
  readonly progressAt: number;
  readonly closed: boolean;
  /** Bytes per second from them. */
  downRate(now: number): number;
  /** Bytes per second to them. */
  upRate(now: number): number;
  /** The first messages: our pieces, and the extended handshake; `seed`: we have all, whatever is announced. */
  greet(announce: 'all' | 'none' | 'held', seed: boolean): void;
  /** Reads `rest`, what came behind the handshake, and all that follows. */
  start(rest: Buffer): void;
  setInterested(interested: boolean): void;
  setChoking(choking: boolean): void;
  /** Tells that we have this piece: now, or along with the next message, at the next `tick` at the latest. */
  announce(piece: number, when: 'now' | 'later'): void;
  request(piece: number, offset: number, length: number): void;
  /** Takes a request back. The block may still come, and is then offered to `blockStart`. */
  cancel(piece: number, offset: number, length: number): void;
  /** Gives a request up without telling: it is asked of somebody else, and may still come from here. */
  giveUp(piece: number, offset: number): void;
  asks(piece: number, offset: number): boolean;
  requests(): readonly BlockPlace[];
  /** The rest of the block that is arriving is let pass. */
  dropBlock(): void;
  /** Keep-alive and silence; called every second or so. */
  tick(now: number): void;
  close(reason: string): void;
}
