/**
 * A blob by metainfo that other members offer. Until all of its bytes have the digest nothing of it is given to a client: wrong metainfo
 * has pieces that fit it, and a client that got some of them could not go on with the right ones. So who asks waits
 * for the whole blob (with status and headers, when a manifest told the size), and does not notice that an offer was wrong: the next is tried.
 */
import { BlobStoreError } from '#blobs';
import type { Digest } from '#oci';
import { type Download, type DownloadContext, startDownload } from '../download.ts';
import type { PullAccount } from '../pull-account.ts';
import type { Repository } from '../repository.ts';
import { feedOf } from '../torrent-feed.ts';
import type { Unfinished } from '../unfinished.ts';
import type { Asks, Offer } from './asks.ts';

/** Searches for one request, and offers of each that are tried. */
const MAX_SEARCHES = 3;
const MAX_OFFERS = 4;
/** A search that took as long and found nobody did not hear everybody. */
const SLOW_SEARCH_MS = 5_000;
/** No search is begun after this: clients wait 30 s for the first byte, and then ask the next host. */
const PATIENCE_MS = 20_000;

interface OfferedBlob {
  readonly context: DownloadContext;
  readonly members: Asks;
  readonly unfinished: Unfinished;
  readonly repository: Repository;
  readonly digest: Digest;
  /** Bytes, when a manifest told. */
  readonly size: number | undefined;
  readonly account: PullAccount;
  readonly requestId: string | undefined;
  /** Nothing is begun any more. */
  readonly stopped: () => boolean;
  /** Holds the download while it runs. */
  readonly running: Set<Download>;
}

/** False: nobody offers it. Rejects, as the last of the downloads that were tried, when no offer led to the blob. */
export async function fetchOffered(blob: OfferedBlob): Promise<boolean> {
  const patienceEnds = performance.now() + PATIENCE_MS;
  let failure: unknown;
  // Who offered what was wrong is not asked again, so that the next search hears others; and whoever was
  // too busy to give anything may have found the time, or somebody else has the blob by now.
  for (let search = 0; search < MAX_SEARCHES && performance.now() < patienceEnds; search += 1) {
    const begunAt = performance.now();
    const offers = await blob.members.metainfo(blob.digest, blob.size);
    if (offers.length === 0) {
      // Everybody said no; or they had no time to answer, as when a whole cluster looks at once.
      if (performance.now() - begunAt < SLOW_SEARCH_MS) break;
      continue;
    }
    const tried = await tryOffers(offers, blob);
    if (tried.came) return true;
    failure = tried.failure;
    if (blob.stopped()) break;
  }
  if (failure !== undefined) throw failure;
  return false;
}

interface Tried {
  readonly came: boolean;
  readonly failure?: unknown;
}

async function tryOffers(offers: readonly Offer[], blob: OfferedBlob): Promise<Tried> {
  const { members } = blob;
  /** Whoever made another offer lied too, once one is proved; nobody is told of twice. */
  const undecided = new Set(offers);
  let failure: unknown;
  for (const offer of offers.slice(0, MAX_OFFERS)) {
    try {
      await fetchBy(offer, blob);
      members.proved(offer, undecided);
      return { came: true };
    } catch (error) {
      failure = error;
      if (isWrong(error)) {
        undecided.delete(offer);
        members.disproved(offer);
      }
      if (blob.stopped()) break;
      await discard(offer, blob);
    }
  }
  return { came: false, failure };
}

async function fetchBy(offer: Offer, blob: OfferedBlob): Promise<void> {
  const { context, unfinished, repository, digest, account, requestId, running } = blob;
  const { metainfo } = offer;
  account.enter('prepare', performance.now());
  const end = await unfinished.begin(digest, metainfo.length);
  let download: Download | undefined;
  try {
    const feed = feedOf(metainfo);
    download = await startDownload(context, { feed, repository, requestId, account, peers: offer.members });
    running.add(download);
    await download.finished;
    await end(true);
  } catch (error) {
    await end(false);
    throw error;
  } finally {
    if (download) running.delete(download);
  }
}

/** Pieces of a wrong offer are of no use to the next. */
async function discard({ metainfo }: Offer, { context }: OfferedBlob): Promise<void> {
  const partial = await context.store.openPartial(metainfo).catch(() => undefined);
  await partial?.discard();
}

/** All pieces were as the metainfo says, and the blob has another digest. */
function isWrong(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof BlobStoreError && cause.code === 'digest-mismatch';
}
