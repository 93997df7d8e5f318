import type { DigestAlgorithm } from '#oci';

/** What the pool and its worker threads say to each other. Only names, numbers and memory that both share cross: no byte of a blob is copied. */
export type Job =
  | { readonly op: 'pieces'; readonly path: string; readonly pieceLength: number }
  | {
      readonly op: 'check';
      readonly path: string;
      readonly pieceLength: number;
      readonly pieces: Uint8Array;
      readonly which: readonly number[];
    }
  | {
      readonly op: 'leaves';
      readonly path: string;
      readonly leafLength: number;
      readonly algorithm: DigestAlgorithm;
    }
  | { readonly op: 'sha1'; readonly bytes: Uint8Array<SharedArrayBuffer> }
  | { readonly op: 'leaves-of'; readonly bytes: Uint8Array<SharedArrayBuffer>; readonly leafLength: number }
  | { readonly op: 'digest'; readonly path: string; readonly algorithm: DigestAlgorithm }
  | {
      readonly op: 'follow';
      readonly follower: number;
      readonly path: string;
      readonly algorithm: DigestAlgorithm;
    }
  | { readonly op: 'advance'; readonly follower: number; readonly upTo: number }
  | { readonly op: 'finish'; readonly follower: number; readonly size: number }
  | { readonly op: 'abort'; readonly follower: number };

export interface LeafHashes {
  /** SHA-256 of each leaf, 32 bytes each, one after another. */
  readonly hashes: Uint8Array;
  /** The hex digest of all of it, of the same reading. */
  readonly digest: string;
}

export type JobResult = Uint8Array | LeafHashes | string | readonly boolean[] | undefined;

export interface JobMessage {
  readonly id: number;
  readonly job: Job;
}

export type JobAnswer =
  | { readonly id: number; readonly result: JobResult }
  | { readonly id: number; readonly error: { readonly message: string; readonly code: string | undefined } };
