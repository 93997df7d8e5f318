import type { Readable } from 'node:stream';
import type { Digest, DigestAlgorithm } from '#oci';
import type { PieceSource, SeedStore } from '#swarm';
import type { Torrent } from '#torrent';

export interface BlobInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since the epoch; kept roughly (written at most once a minute per blob). */
  readonly lastUsedAt: number;
  /** Its bytes are in another program's file: they take nothing of this store's disk, and the totals do not count them. */
  readonly outside?: boolean;
}

/** `no-other`: there is no other copy that can be used; `not-here`: we have no such blob. */
export type SharedAs = 'linked' | 'borrowed' | 'no-other' | 'not-here';

export interface WriterOptions {
  /**
   * What the digest will be computed with while the bytes come; by default sha256. A digest of another
   * algorithm is accepted too, at the price of reading the bytes once more.
   */
  readonly algorithm?: DigestAlgorithm | undefined;
  /** Told each time more bytes can be read back. Must not throw. */
  readonly onGrowth?: ((size: number) => void) | undefined;
}

/** Complete blobs and pushes: what an origin needs. Kept in files or in S3. */
export interface BlobStore {
  /** Opens a complete blob, unchanged since it was stored, or undefined. The reader keeps its bytes even while it is deleted. */
  open(digest: Digest): Promise<BlobReader | undefined>;
  /** A complete blob that `open` would give: its file is there and unchanged. Reads none of it, unless it was touched. */
  stat(digest: Digest): Promise<BlobInfo | undefined>;
  /** SHA-1 of each piece of a complete blob, computed off the event loop; undefined when it is not here. */
  hashPieces(digest: Digest, pieceLength: number): Promise<Uint8Array | undefined>;
  /**
   * SHA-256 of each leaf of a complete blob, computed while all of it is hashed again, so that they are
   * of the bytes that the digest names. A damaged blob is set aside as by `verify`. Undefined when it is not here.
   */
  hashLeaves(digest: Digest, leafLength: number): Promise<Uint8Array | undefined>;
  list(): AsyncIterable<BlobInfo>;
  /** Totals of the complete blobs; kept up to date, cheap to ask. Too low until `counted`. */
  totals(): { readonly blobs: number; readonly bytes: number };
  /** Resolves when the blobs of earlier runs are all in the totals, or the store is closed. Never rejects. */
  readonly counted: Promise<void>;
  /**
   * Hashes all of a blob, whatever is known of its file. One that is not what its digest says is set
   * aside, and is not here any more.
   */
  verify(digest: Digest): Promise<'good' | 'damaged' | 'missing'>;
  /** Removes a complete blob. Open readers go on. */
  delete(digest: Digest): Promise<void>;

  /** A sequential write of a blob whose digest may not be known yet (a push). Survives a restart under its id. */
  createWriter(options?: WriterOptions): Promise<BlobWriter>;
  /** The writer of an upload that was begun earlier, also before a restart (its bytes are hashed again). */
  resumeWriter(id: string): Promise<BlobWriter | undefined>;

  close(): Promise<void>;
}

/** A store that downloads end in, too: what an agent needs. Pieces come in any order, so it is of files only. */
export interface DownloadStore extends BlobStore {
  /**
   * The partial blob of a download: made anew, or with the pieces an earlier run left, each
   * checked again by its hash; of a draft, as soon as that is known. One at a time a digest. ENOSPC is a BlobStoreError 'no-space'.
   */
  openPartial(metainfo: Torrent): Promise<PartialBlob>;
  /**
   * Has only one copy of this blob on disk where the program beside us (`outside`, given at opening) has one too: as a hard link
   * to its file, or, when `mayBorrow`, by giving ours up. The other copy is hashed first. Without `outside`: 'no-other'.
   */
  share(digest: Digest, mayBorrow: boolean): Promise<SharedAs>;
  /** What the pieces of a download take of the disk now; 0 when there are none. */
  partialBytes(digest: Digest): Promise<number>;
}

/** Read access to one complete blob. Usable by the swarm as a seed as it is. */
export interface BlobReader extends SeedStore {
  readonly digest: Digest;
  readonly size: number;
  /** A Node stream of bytes `start` to `end` inclusive, by default all. Reads in large chunks. Closing the reader does not cut a running stream. A range that is not within the blob throws 'invalid'. */
  stream(range?: { readonly start: number; readonly end: number }): Readable;
  /** The pieces view that the swarm needs: the piece length is given by the metainfo. */
  close(): Promise<void>;
}

export interface BlobWriter {
  /** Opaque, safe in a URL; names the upload across restarts. */
  readonly id: string;
  /** Bytes received so far; they survive the end of the process, and a power cut once `sync` resolved. */
  readonly size: number;
  /**
   * Appends; hashes on the way; back-pressure by the returned promise; at most one append at a
   * time (a second is refused with 'busy'). When `source` fails half-way the bytes that came are kept.
   */
  append(source: AsyncIterable<Uint8Array>, limits?: { readonly maxBytes?: number }): Promise<void>;
  /** Fills `into` with bytes that came already, also while more are appended; 'closed' once the writer ended. */
  read(position: number, into: Uint8Array): Promise<void>;
  /** What came so far survives a power cut when this resolves: call it before a client is told of it. */
  sync(): Promise<void>;
  /**
   * Makes it a blob: compares the digest ('digest-mismatch' leaves the upload usable), fsync,
   * rename, fsync of the folder. When it resolves the blob survives a power cut. `onStored` is called as
   * soon as the store's totals count it.
   */
  commit(expected: Digest, options?: { readonly onStored?: () => void }): Promise<BlobInfo>;
  /** Gives the upload up and removes its bytes. */
  cancel(): Promise<void>;
  /** Lets go of file handles; the upload can be resumed later. */
  close(): Promise<void>;
}

/** Pieces of a blob that is being downloaded. Satisfies the swarm's PieceStore. */
export interface PartialBlob {
  readonly metainfo: Torrent;
  has(piece: number): boolean;
  /** Where a held piece came from in this or an earlier run. */
  source(piece: number): PieceSource | undefined;
  /** Bytes of the verified pieces. */
  readonly verifiedBytes: number;
  read(position: number, into: Uint8Array): Promise<void>;
  write(piece: number, bytes: Uint8Array, source: PieceSource): Promise<void>;
  /** A piece whose hash was not known when this was opened, and is now: see the swarm's PieceStore. */
  recheck(piece: number): Promise<PieceSource | undefined>;
  /**
   * All pieces are here: checks the whole blob's sha256 (computed in the background as the
   * contiguous prefix grew) and makes it a complete blob. 'digest-mismatch' discards the partial.
   * Reads of this partial go on working afterwards. `onVerified` is called as soon as the sha256 is
   * right, before the disk has confirmed the blob; `onStored` as soon as the store's totals count it.
   */
  commit(options?: { readonly onVerified?: () => void; readonly onStored?: () => void }): Promise<BlobInfo>;
  /** Lets go; the pieces stay for a later run. */
  close(): Promise<void>;
  /** Gives the pieces up and removes them; does nothing after `close`. Like `close`, waits for a running commit. */
  discard(): Promise<void>;
}
