/** What a blob's swarm shares with the others of its agent, and what the engine sees of it. */
import type { Digest } from '#oci';
import type { Logger } from '#telemetry';
import type { InfoHash } from '#torrent';
import type { Peer, SendMemory } from '../peer/index.ts';
import type { PeerAddress, SwarmObserver } from '../port.ts';
import type { RateLimiter } from '../rate/index.ts';
import type { Connection, Greeting } from '../transport/index.ts';
import type { Bans } from './bans.ts';
import type { PieceMemory } from './pieces.ts';
import type { Verifier } from './verifier.ts';

/** What all blobs of an agent share. */
export interface Commons {
  readonly peerId: string;
  readonly zone: string | undefined;
  readonly listenPort: () => number | undefined;
  readonly observer: SwarmObserver;
  readonly log: Logger;
  readonly now: () => number;
  readonly sendMemory: SendMemory;
  readonly pieceMemory: PieceMemory;
  readonly verifier: Verifier;
  readonly uploadLimiter: RateLimiter;
  readonly downloadLimiter: RateLimiter;
  readonly bans: Bans;
  /** Whether we have a transport in common with this member. */
  readonly reachable: (address: PeerAddress) => boolean;
  /** Whether one more connection may be made. */
  readonly room: () => boolean;
  /** Dials and exchanges handshakes about this blob. */
  readonly meet: (
    address: PeerAddress,
    infoHash: InfoHash,
  ) => Promise<{ readonly connection: Connection; readonly greeting: Greeting }>;
  /** Something happened that the clock must know of. */
  readonly wake: () => void;
}

export interface Blob {
  readonly infoHash: InfoHash;
  readonly digest: Digest;
  readonly peers: Iterable<Peer>;
  /** A download runs, or its owner has not left yet. */
  readonly owned: boolean;
  /** It needs the clock's fast pace: it downloads, or has peers. */
  readonly active: boolean;
  /** Since when it has no peer and no owner; undefined while it has. */
  readonly idleSince: number | undefined;
  /** Why a member that greets us about this blob is not let in; undefined when it is. */
  refusal(connection: Connection, greeting: Greeting): string | undefined;
  /** A connection whose handshake named this blob. Throws, with the connection closed, when it is refused. */
  welcome(connection: Connection, greeting: Greeting, address: PeerAddress | undefined): void;
  /** Called every tenth of a second while something is downloaded, else every second. */
  tick(now: number): void;
  /** Ends everything and closes a seed's store. */
  close(reason: string): Promise<void>;
}
