/** What the download side of a blob needs, and what it offers to the blob. */
import type { Logger } from '#telemetry';
import type { Torrent } from '#torrent';
import type { AskedTally, Peer } from '../peer/index.ts';
import type { PieceSource, PieceStore } from '../port.ts';
import type { RateLimiter } from '../rate/index.ts';
import type { PieceMemory, Sender } from './pieces.ts';
import type { Verifier } from './verifier.ts';

export interface FetchingOptions {
  /** Of a draft only pieces whose hash is known are asked for. */
  readonly metainfo: Torrent;
  readonly store: PieceStore;
  readonly memory: PieceMemory;
  readonly verifier: Verifier;
  readonly limiter: RateLimiter;
  /** Requests that are out at all peers of this blob; the peers count them. */
  readonly asked: AskedTally;
  readonly log: Logger;
  readonly now: () => number;
  /** Our peer id, the name by which the members of a zone agree who fetches what. */
  readonly name: string;
  /** Whether a peer told that it has this piece. */
  readonly told: (peer: Peer, piece: number) => boolean;
  /** Whether a peer is outside our zone. */
  readonly far: (peer: Peer) => boolean;
  /** A piece is verified and stored. */
  readonly settled: (piece: number, source: PieceSource) => void;
  /** Every piece is stored. */
  readonly completed: () => void;
  /** The store cannot be written. */
  readonly failed: (error: Error) => void;
  /** A piece failed its hash. */
  readonly rejected: (piece: number, sender: Sender) => void;
  /** This member sent bad bytes or lies: it is banned and its connection closed. */
  readonly ban: (member: Sender, reason: string) => void;
}

export interface Fetching {
  readonly done: boolean;
  join(peer: Peer): void;
  leave(peer: Peer): void;
  have(peer: Peer, piece: number): void;
  pieces(peer: Peer, bits: Uint8Array | 'all'): void;
  /** Its zone may be known only now, and whether it is a seed that shows its pieces by and by; `bits` are its pieces. */
  introduced(peer: Peer, bits: Uint8Array, seed: boolean): void;
  choked(peer: Peer, dropped: readonly { readonly piece: number; readonly offset: number }[]): void;
  refused(peer: Peer, piece: number, offset: number): void;
  blockStart(peer: Peer, piece: number, offset: number): Uint8Array | undefined;
  blockEnd(peer: Peer, piece: number, offset: number, length: number, stored: boolean): void;
  /** The peer may be asked now. */
  unchoked(peer: Peer): void;
  /** Asks this peer for more, as much as its pace wants. */
  fill(peer: Peer): void;
  /** Fills `into` from `position` with stored bytes that are still in memory; false when they are not. */
  recall(position: number, into: Uint8Array): boolean;
  prioritise(from: number, to: number): void;
  /** More piece hashes are known. */
  learn(): void;
  /** While true no connected origin is asked. */
  spareOrigin(spared: boolean): void;
  lend(piece: number): Uint8Array<SharedArrayBuffer> | undefined;
  giveBack(bytes: Uint8Array): void;
  pace(bytes: number): Promise<void>;
  offer(piece: number, bytes: Uint8Array, source: PieceSource): Promise<boolean>;
  /** Stalls; called every tenth of a second. */
  tick(now: number): void;
  stats(): {
    readonly downloadRate: number;
    readonly bytesFromPeers: number;
    readonly bytesFromOrigin: number;
    readonly unavailablePieces: number;
  };
  close(): void;
}
