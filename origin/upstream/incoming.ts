/** What others see of a blob that is on its way. */
import type { Digest } from '#oci';

/** A blob on its way from its upstream: its front is on disk and can be read. Nothing of it is verified yet. */
export interface IncomingBlob {
  readonly digest: Digest;
  /** Bytes; an upstream that names no size gives no IncomingBlob. */
  readonly size: number;
  /** Bytes from the start that are on disk. */
  available(): number;
  /** Fills `into` from `position`, inside of what is available. */
  read(position: number, into: Uint8Array): Promise<void>;
  /** Told after each growth; returns what ends it. */
  onGrowth(listener: () => void): () => void;
  /** Resolves when the blob is complete in the store; rejects when the upstream failed or the digest is wrong. */
  readonly finished: Promise<void>;
}
