/**
 * What the cache holds, told to discovery after a start: from the names in the catalogue alone, no
 * file is opened, and in the background, so that 100,000 blobs do not delay the first pull.
 */
import type { Discovery } from '#discovery';
import type { Logger } from '#telemetry';
import type { InfoHash, MetainfoCatalog } from '#torrent';
import type { Unfinished } from './unfinished.ts';

export interface HeldList {
  /** Resolves when discovery knows all of it, or when it was closed. Never rejects. */
  readonly listed: Promise<void>;
  /** Stops listing. The database may be closed when this resolves. */
  close(): Promise<void>;
}

/**
 * Of what is in the catalogue all is complete but the downloads that were begun and did not end.
 * Resolves when listing has begun; what enters the catalogue later is not listed.
 */
export async function listHeld(options: {
  readonly catalog: MetainfoCatalog;
  readonly unfinished: Unfinished;
  readonly discovery: Discovery;
  readonly log: Logger;
}): Promise<HeldList> {
  const { catalog, unfinished, discovery, log } = options;
  let closed = false;
  const incomplete = new Set<InfoHash>();
  for (const digest of await unfinished.pending()) {
    const metainfo = await catalog.get(digest);
    if (metainfo) incomplete.add(metainfo.infoHash);
  }

  async function list(): Promise<void> {
    let blobs = 0;
    for await (const infoHashes of catalog.infoHashes()) {
      if (closed) return;
      const complete = infoHashes.filter((infoHash) => !incomplete.has(infoHash));
      discovery.hold(complete);
      blobs += complete.length;
    }
    log.info({ blobs }, 'the cache is listed');
  }
  const listed = list().catch((error: unknown) =>
    log.error({ err: error }, 'the cache was not listed whole'),
  );
  return {
    listed,
    close() {
      closed = true;
      return listed;
    },
  };
}
