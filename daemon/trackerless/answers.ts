/** What other members may ask of this agent. Only what is here is given, and only while it may be shared with every member. */
import { haveQuestion } from '#discovery';
import { type Digest, parseDigest } from '#oci';
import { encodeMetainfo, type MetainfoCatalog, NO_SOURCES } from '#torrent';
import type { ManifestCache } from '../manifest-cache.ts';

const YES = Buffer.from('yes');

/** Answers one question; undefined: we do not have it, or do not say. */
export function createAnswers(options: {
  readonly catalog: MetainfoCatalog;
  readonly manifests: Pick<ManifestCache, 'get'>;
  readonly mayTell: () => boolean;
}): (question: string) => Promise<Uint8Array | undefined> {
  const { catalog, manifests, mayTell } = options;
  const have = haveQuestion('' as Digest).trim();
  return async (question) => {
    const [what, text = ''] = question.split(' ');
    if (!mayTell()) return undefined;
    const digest = digestIn(text);
    if (digest === undefined) return undefined;
    if (what === 'manifest') return (await manifests.get(digest))?.bytes;
    const metainfo = await catalog.get(digest);
    if (metainfo === undefined) return undefined;
    if (what === have) return YES;
    // Trackers and passkeys stay here: who asks has no use for a tracker that does not answer.
    return what === 'metainfo' ? encodeMetainfo(metainfo, NO_SOURCES) : undefined;
  };
}

function digestIn(text: string): Digest | undefined {
  try {
    return parseDigest(text);
  } catch {
    return undefined;
  }
}
