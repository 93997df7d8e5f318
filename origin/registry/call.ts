/** What every verb of the registry works with, and how one request reaches it. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { BlobStore } from '#blobs';
import type { Digest, DistributionPath, RepositoryName, Tag } from '#oci';
import type { MetainfoSources } from '#torrent';
import type { Access, Admitted, Passkeys } from '../access/index.ts';
import type { Drafts } from '../drafts.ts';
import type { Exclusive } from '../exclusive.ts';
import type { LeafLists } from '../leaf-lists.ts';
import type { MetadataStore } from '../metadata/port.ts';
import type { SpaceGuard } from '../space.ts';
import type { Torrents } from '../torrents.ts';
import type { Upstreams } from '../upstream/index.ts';
import type { RecentBytes } from './recent-bytes.ts';
import type { UploadSessions } from './upload-sessions.ts';

export interface Registry {
  readonly metadata: MetadataStore;
  readonly blobs: BlobStore;
  readonly uploads: UploadSessions;
  readonly torrents: Torrents;
  readonly leaves: LeafLists;
  /** Bytes of manifests, in memory. */
  readonly recentManifests: RecentBytes;
  /** Orders, for each digest, what joins a blob's bytes and its links: push, mount and deletion. */
  readonly perDigest: Exclusive;
  readonly space: SpaceGuard;
  readonly access: Access;
  readonly upstreams: Upstreams;
  readonly drafts: Drafts;
  /** Counts blob payload that passed over HTTP. */
  countPayload(direction: 'in' | 'out', bytes: number): void;
  /** Where the swarm of a blob is found: `path` is the blob's, and the base is as this client sees us. */
  sourcesFor(request: FastifyRequest, path: string, passkeys: Passkeys | undefined): MetainfoSources;
  /** A manifest was pushed with these tags, and is on the disk. */
  pushed(repository: RepositoryName, tags: readonly Tag[]): void;
  /** Ends all service of a blob that no repository holds any more. */
  discard(digest: Digest): Promise<void>;
}

export type PathOf<K extends DistributionPath['kind']> = Extract<DistributionPath, { kind: K }>;

export interface Call<K extends DistributionPath['kind'] = DistributionPath['kind']> {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly path: PathOf<K>;
  readonly query: URLSearchParams;
  /** What the client may do. */
  readonly admitted: Admitted;
}

/** One verb on one path. It answers through `reply`, or throws an OciError. */
export type Verb<K extends DistributionPath['kind']> = (
  registry: Registry,
  call: Call<K>,
) => Promise<unknown>;

/** Whether an If-None-Match or If-Range header names this entity (RFC 9110, sections 8.8.3 and 13.1). */
export function namesEntity(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((entry) => {
    const tag = entry.trim().replace(/^W\//, '');
    return tag === '*' || tag === etag || `"${tag}"` === etag;
  });
}
