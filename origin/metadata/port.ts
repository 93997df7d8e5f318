/**
 * What the origin knows beside blob bytes: repositories, which blobs and manifests each holds, tags,
 * referrers, and uploads in progress. An implementation keeps what it acknowledged through kill -9
 * and power loss, and makes each call atomic; test/unit/origin/metadata-contract.ts is its contract.
 */
import type { Digest, RepositoryName, Tag } from '#oci';
import type { AuditStore, CollectionStore } from './collection-port.ts';

/** A page of a sorted listing: entries after `after`, at most `limit` of them. */
export interface PageRequest<T extends string = string> {
  readonly limit: number;
  readonly after?: T | undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Whether entries follow the last one of this page. */
  readonly more: boolean;
}

/** A manifest without its bytes. */
export interface ManifestRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Bytes. */
  readonly size: number;
  readonly subject?: Digest | undefined;
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds since the epoch. */
  readonly pushedAt: number;
  /** It came from an upstream: what it requires may come later, or never. */
  readonly partial?: boolean | undefined;
}

export interface NewManifest extends ManifestRecord {
  readonly bytes: Uint8Array;
  /** What must be in the repository for the manifest to be stored, unless it is partial. */
  readonly requires: { readonly blobs: readonly Digest[]; readonly manifests: readonly Digest[] };
  /** Points these tags at the manifest in the same step. */
  readonly tags: readonly Tag[];
}

/** A blob upload in progress. Its bytes are in the blob store under the same id. */
export interface UploadRecord {
  readonly id: string;
  readonly name: RepositoryName;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

export interface MetadataStore {
  /** Repositories by name. */
  repositories(page: PageRequest): Promise<Page<RepositoryName>>;
  hasRepository(name: RepositoryName): Promise<boolean>;

  /** Makes a blob part of a repository, which comes into being with its first content; begins its lease. */
  linkBlob(name: RepositoryName, digest: Digest): Promise<void>;
  hasBlob(name: RepositoryName, digest: Digest): Promise<boolean>;
  /**
   * Before a client is told that the blob is there: from now on it stays for a lease at least, unless
   * it is deleted by name. False when the repository does not have it. Mostly answered from memory.
   */
  relyOnBlob(name: RepositoryName, digest: Digest): Promise<boolean>;
  /**
   * `linked`: it was part of the repository. `elsewhere`: another repository still holds it; otherwise
   * its bytes are noted as orphans in the same batch. Called in the digest's turn.
   */
  unlinkBlob(name: RepositoryName, digest: Digest): Promise<{ linked: boolean; elsewhere: boolean }>;

  /** Stores the manifest, or nothing when something that it requires is missing: that is returned. */
  putManifest(name: RepositoryName, manifest: NewManifest): Promise<readonly Digest[]>;
  manifest(name: RepositoryName, digest: Digest): Promise<ManifestRecord | undefined>;
  manifestBytes(name: RepositoryName, digest: Digest): Promise<Uint8Array | undefined>;
  /** As `relyOnBlob`, for a manifest that is asked for by its digest. */
  relyOnManifest(name: RepositoryName, digest: Digest): Promise<boolean>;
  /** Removes the manifest and every tag of the repository that points at it; false when unknown. */
  deleteManifest(name: RepositoryName, digest: Digest): Promise<boolean>;
  /**
   * Manifests of the repository whose subject is `subject`, by digest. A page ends before its records exceed
   * `maxBytes`, but has one at least.
   */
  referrers(
    name: RepositoryName,
    subject: Digest,
    page: PageRequest & { readonly artifactType?: string | undefined; readonly maxBytes?: number },
  ): Promise<Page<ManifestRecord>>;

  tag(name: RepositoryName, tag: Tag): Promise<Digest | undefined>;
  /** A tag, and milliseconds since it was last pushed or confirmed. */
  tagAge(name: RepositoryName, tag: Tag): Promise<{ digest: Digest; ageMs: number } | undefined>;
  /**
   * An upstream says that the tag means this manifest: points it there, as of now. False when the manifest
   * is not here. A repeated confirmation is written now and then only.
   */
  confirmTag(name: RepositoryName, tag: Tag, digest: Digest): Promise<boolean>;
  /** Tags in the specification's order: by letters regardless of case, then by code point. */
  tags(name: RepositoryName, page: PageRequest): Promise<Page<Tag>>;
  /** What it pointed at; undefined when unknown. */
  deleteTag(name: RepositoryName, tag: Tag): Promise<Digest | undefined>;

  beginUpload(upload: UploadRecord): Promise<void>;
  upload(id: string): Promise<UploadRecord | undefined>;
  endUpload(id: string): Promise<void>;
  uploads(): AsyncIterable<UploadRecord>;

  /** What garbage collection needs. */
  readonly collection: CollectionStore;
  /** What scrubbing needs. */
  readonly audit: AuditStore;

  /** Waits for running calls. Whoever opened the database closes it afterwards. */
  close(): Promise<void>;
}
