/**
 * The metainfo of each blob that the origin holds: piece hashes computed once, in worker threads,
 * and kept in the catalogue. A push starts it in the background; a request that comes earlier waits
 * for the same computation.
 */
import type { BlobStore } from '#blobs';
import { createBoundedMap } from '#bounded';
import type { Hashing } from '#hashing';
import type { Digest } from '#oci';
import type { Logger } from '#telemetry';
import {
  createMetainfo,
  FIRST_LEAF_BYTES,
  type InfoHash,
  type Metainfo,
  type MetainfoCatalog,
  pieceHash,
  pieceLengthFor,
} from '#torrent';
import type { Drafts } from './drafts.ts';
import type { Exclusive } from './exclusive.ts';
import type { CollectionStore } from './metadata/collection-port.ts';

/** Names that are kept in memory: some hundred bytes each. */
const MAX_IDENTITIES = 20_000;

export interface BlobIdentity {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

export interface Torrents {
  /** The blob's metainfo, computed now when it must be; undefined when the blob is not here. */
  of(digest: Digest): Promise<Metainfo | undefined>;
  byInfoHash(infoHash: InfoHash): Promise<Metainfo | undefined>;
  /** Which blob an infohash names; cheap to ask again, as a tracker does at every announce. */
  identify(infoHash: InfoHash): Promise<BlobIdentity | undefined>;
  /** Computes it in the background. */
  prepare(digest: Digest): void;
  /** Computes in the background what an earlier run did not come to, one at a time. */
  resume(): void;
  /** Forgets a blob that is being deleted; answers with its infohash. Called in the digest's turn. */
  forget(digest: Digest): Promise<InfoHash | undefined>;
  /** Blobs whose piece hashes are being computed now. */
  pending(): number;
  /** Waits for what runs, and starts nothing more. */
  close(): Promise<void>;
}

export function createTorrents(options: {
  readonly catalog: MetainfoCatalog;
  readonly blobs: BlobStore;
  readonly hashing: Pick<Hashing, 'hashLeavesOf'>;
  readonly perDigest: Exclusive;
  /** Blobs whose piece hashes are computed while they come from an upstream. */
  readonly drafts?: Pick<Drafts, 'hashesOf' | 'forget'>;
  /** Keeps through a crash which blobs are still to be hashed. */
  readonly notes: Pick<CollectionStore, 'unhashed' | 'hashed'>;
  /** A blob can be found by its infohash from now on, or no longer. */
  readonly onChange: (infoHash: InfoHash) => void;
  readonly log: Logger;
}): Torrents {
  const { catalog, blobs, perDigest, log } = options;
  const identities = createBoundedMap<InfoHash, BlobIdentity>(MAX_IDENTITIES);
  const running = new Map<Digest, Promise<Metainfo | undefined>>();
  const background = new Set<Promise<void>>();
  let backfill: Promise<void> | undefined;
  let closed = false;

  const compute = async (digest: Digest): Promise<Metainfo | undefined> => {
    const blob = await blobs.stat(digest);
    if (blob === undefined) return undefined;
    const pieces =
      (await options.drafts?.hashesOf(digest)) ?? (await blobs.hashPieces(digest, pieceLengthFor(blob.size)));
    if (pieces === undefined) return undefined;
    const firstLeaves = await firstLeavesOf(digest, blob.size, pieces);
    const metainfo = createMetainfo({ digest, length: blob.size, pieces, firstLeaves });
    // A deletion may have come meanwhile; in the digest's turn the answer holds.
    return perDigest.run(digest, async () => {
      if ((await blobs.stat(digest)) === undefined) return undefined;
      await catalog.put(metainfo);
      options.onChange(metainfo.infoHash);
      return metainfo;
    });
  };

  /** With them agents give out the beginning early. None where the blob is small, or its file does not agree with its piece hashes. */
  async function firstLeavesOf(
    digest: Digest,
    size: number,
    pieces: Uint8Array,
  ): Promise<Uint8Array | undefined> {
    const length = pieceLengthFor(size);
    // Of one piece nothing is given out before all of it is here.
    if (size <= length) return undefined;
    const reader = await blobs.open(digest);
    if (reader === undefined) return undefined;
    try {
      const piece = new Uint8Array(new SharedArrayBuffer(length));
      await reader.read(0, piece);
      const { hashes, digest: sha1 } = await options.hashing.hashLeavesOf(piece, FIRST_LEAF_BYTES);
      return sha1 === Buffer.from(pieceHash({ pieces }, 0)).toString('hex') ? hashes : undefined;
    } finally {
      await reader.close();
    }
  }

  const single = (digest: Digest): Promise<Metainfo | undefined> => {
    const before = running.get(digest);
    if (before !== undefined) return before;
    if (closed) return Promise.resolve(undefined);
    const task = compute(digest).finally(() => running.delete(digest));
    running.set(digest, task);
    return task;
  };

  const of = async (digest: Digest): Promise<Metainfo | undefined> =>
    (await catalog.get(digest)) ?? single(digest);

  const inBackground = (digest: Digest): Promise<void> => {
    const task = of(digest)
      .then(() => (closed ? undefined : options.notes.hashed(digest)))
      .catch((error: unknown) => log.warn({ err: error, digest }, 'piece hashes could not be computed'))
      .finally(() => background.delete(task));
    background.add(task);
    return task;
  };

  return {
    of,
    byInfoHash: (infoHash) => catalog.byInfoHash(infoHash),
    async identify(infoHash) {
      const known = identities.get(infoHash);
      if (known) return known;
      const metainfo = await catalog.byInfoHash(infoHash);
      if (metainfo === undefined) return undefined;
      const identity = { digest: metainfo.digest, size: metainfo.length };
      identities.set(infoHash, identity);
      return identity;
    },
    prepare: (digest) => void inBackground(digest),
    resume() {
      backfill ??= (async () => {
        for await (const digest of options.notes.unhashed()) {
          if (closed) return;
          await inBackground(digest);
        }
      })().catch((error: unknown) => log.warn({ err: error }, 'unfinished torrents could not be listed'));
    },
    async forget(digest) {
      await options.drafts?.forget(digest);
      const metainfo = await catalog.get(digest);
      if (metainfo) {
        await catalog.delete(digest);
        identities.delete(metainfo.infoHash);
        options.onChange(metainfo.infoHash);
      }
      return metainfo?.infoHash;
    },
    pending: () => running.size,
    async close() {
      closed = true;
      await Promise.allSettled([backfill, ...running.values(), ...background]);
    },
  };
}
