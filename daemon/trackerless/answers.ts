/** What other members may ask of this agent. Only what is here is given, and only while it may be shared with every member. */

import type { BlobStore } from '#blobs';
import { haveQuestion } from '#discovery';
import { type Digest, parseDigest } from '#oci';
import { encodeMetainfo, type MetainfoCatalog, NO_SOURCES } from '#torrent';
import type { ManifestCache } from '../manifest-cache.ts';
import { SMALL_BLOB_BYTES } from '../metainfo-source.ts';

const YES = Buffer.from('yes');

/** Answers one question; undefined: we do not have it, or do not say. */
export function createAnswers(options: {
  readonly store: Pick<BlobStore, 'open'>;
  readonly catalog: MetainfoCatalog;
  readonly manifests: Pick<ManifestCache, 'get'>;
  readonly mayTell: () => boolean;
}): (question: string) => Promise<Uint8Array | undefined> {
  const { store, catalog, manifests, mayTell } = options;
  const have = haveQuestion('' as Digest).trim();
  return async (question) => {
    const [what, text = ''] = question.split(' ');
    if (!mayTell()) return undefined;
    const digest = digestIn(text);
    if (digest === undefined) return undefined;
    if (what === 'manifest') return (await manifests.get(digest))?.bytes;
    if (what === 'blob') return smallBlob(store, digest);
    const metainfo = await catalog.get(digest);
    if (metainfo === undefined) return undefined;
    if (what === have) return YES;
    // Trackers and passkeys stay here: who asks has no use for a tracker that does not answer.
    return what === 'metainfo' ? encodeMetainfo(metainfo, NO_SOURCES) : undefined;
  };
}

/** A larger one is for the swarm. */
async function smallBlob(store: Pick<BlobStore, 'open'>, digest: Digest): Promise<Buffer | undefined> {
  const reader = await store.open(digest);
  try {
    if (reader === undefined || reader.size > SMALL_BLOB_BYTES) return undefined;
    const bytes = Buffer.alloc(reader.size);
    await reader.read(0, bytes);
    return bytes;
  } finally {
    await reader?.close();
  }
}

function digestIn(text: string): Digest | undefined {
  try {
    return parseDigest(text);
  } catch {
    return undefined;
  }
}
