/**
 * What garbage collection and scrubbing ask of the metadata. Each call that takes something out looks again, in
 * the repository's turn and in the same batch, whether it may: nothing that is referred to, tagged
 * or under a lease is taken out, whatever the caller has read before.
 */
import type { Digest, RepositoryName, Tag } from '#oci';

export type LeaseKind = 'blob' | 'manifest';
/** `doomed`: manifests that a policy wants gone once nothing holds them. */
export type LeaseQueue = LeaseKind | 'doomed';

export interface Lease {
  readonly kind: LeaseKind;
  readonly doomed: boolean;
  readonly name: RepositoryName;
  readonly digest: Digest;
  /** Milliseconds since the epoch: when a client was last told that this is here. */
  readonly since: number;
}

export interface TagRecord {
  readonly tag: Tag;
  readonly digest: Digest;
  /** Milliseconds since the epoch: when the tag was last pushed. */
  readonly taggedAt: number;
}

export interface CollectOptions {
  /** Leases that began at or after this time protect. Milliseconds since the epoch. */
  readonly before: number;
  /** Only says what would go. */
  readonly dryRun: boolean;
}

export interface CollectionStore {
  /** Leases that began before `before`, oldest first, at most `limit`, after `after`. */
  leases(queue: LeaseQueue, before: number, limit: number, after?: Lease): Promise<Lease[]>;
  /**
   * Takes a blob that no manifest refers to out of its repository. `last`: no repository holds it any
   * more, and it is noted as an orphan in the same batch. Called in the digest's turn.
   */
  collectBlob(
    name: RepositoryName,
    digest: Digest,
    options: CollectOptions,
  ): Promise<{ readonly removed: boolean; readonly last: boolean }>;
  /**
   * Removes a manifest that has no tag, no index above it and no subject that is still here. What it
   * referred to, and what refers to it as its subject, is looked at next. Answers its size in bytes.
   */
  collectManifest(name: RepositoryName, digest: Digest, options: CollectOptions): Promise<number | undefined>;
  /**
   * Removes the tags that `judge` picks of all tags of the repository; manifests that have none left
   * are doomed. Judged again in the repository's turn. Answers with those that went.
   */
  collectTags<T extends TagRecord>(
    name: RepositoryName,
    judge: (tags: readonly TagRecord[]) => readonly T[],
    options: Pick<CollectOptions, 'dryRun'>,
  ): Promise<readonly T[]>;
  /**
   * Notes that bytes come that no repository holds and no torrent describes yet. Not synced: whatever
   * is synced later carries it.
   */
  expectBlob(digest: Digest): Promise<void>;
  /** Blobs that came, and whose torrent is perhaps not made yet. */
  unhashed(): AsyncIterable<Digest>;
  /** The torrent is made, or the blob is gone. */
  hashed(digest: Digest): Promise<void>;
  /** Bytes that perhaps no repository holds, after `after`. */
  orphans(limit: number, after?: Digest): Promise<Digest[]>;
  isHeld(digest: Digest): Promise<boolean>;
  /** The bytes are gone, or a repository holds them. */
  forgetOrphan(digest: Digest): Promise<void>;
}

/** Something in the metadata that does not hold together. */
export interface MetadataProblem {
  readonly kind: 'manifest damaged' | 'tag without manifest' | 'reference without content';
  readonly name: RepositoryName;
  /** The manifest: the damaged one, the one that the tag names, or the one that refers to nothing. */
  readonly digest: Digest;
  readonly tag?: Tag;
  /** What is referred to. */
  readonly target?: Digest;
}

export interface AuditStore {
  /** Every blob that a repository holds, once. */
  heldBlobs(): AsyncIterable<Digest>;
  /** Looks at every manifest, reference and tag; `seen` is told how many there were. */
  problems(seen: (what: 'manifests' | 'references' | 'tags') => void): AsyncIterable<MetadataProblem>;
  /** Takes a damaged manifest out of service and keeps its bytes aside; a push of it mends its tags. */
  setManifestAside(name: RepositoryName, digest: Digest): Promise<void>;
}
