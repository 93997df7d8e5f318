import type { Digest } from '#oci';
import type { PeerAddress } from '#swarm';
import type { InfoHash } from '#torrent';

export interface Discovery {
  /** Announces that we download this blob; `onPeers` is called whenever members are learnt. */
  join(options: {
    readonly infoHash: InfoHash;
    /** The blob's; without it only trackers can be asked. */
    readonly digest?: Digest | undefined;
    /** Trackers of the blob's metainfo, tried beside the configured ones. */
    readonly announce: readonly string[];
    /** Bytes still missing, asked at each announce. */
    readonly left: () => number;
    readonly onPeers: (peers: readonly PeerAddress[]) => void;
    /**
     * Called once, when everybody who could name members has answered or failed: who is unknown now need not be waited for.
     * False: nobody answered.
     */
    readonly onAnswered?: (answered: boolean) => void;
  }): Membership;
  /** Blobs that we can seed from now on. */
  hold(infoHashes: Iterable<InfoHash>): void;
  /** Blobs that we can no longer seed. */
  drop(infoHashes: Iterable<InfoHash>): void;
  /** Tells the tracker goodbye, bounded by a deadline. */
  close(): Promise<void>;
}

export interface Membership {
  /** The blob is complete; the member stays known as a seed (`hold` it). */
  complete(): Promise<void>;
  /** The download was given up. */
  leave(): Promise<void>;
}
