/**
 * A small closed range of a blob that is not in the cache, as lazy-pulling snapshotters ask for. It is
 * answered from the leaves that it touches. Where that fails before anything was sent, the blob's
 * download answers, as for every other request.
 */
import { sendBody } from '#http';
import { type ByteRange, closedRangeLength, type Digest, parseRange } from '#oci';
import type { Download } from '../download.ts';
import type { LazyBlob } from '../lazy/index.ts';
import {
  type BlobContext,
  chooseRange,
  counterOf,
  type Exchange,
  rangeHeader,
  spanOf,
  unsatisfiable,
} from './blob-answer.ts';
import { matchesEtag } from './etag.ts';

/** Up to here all of an answer is waited for, so that the blob's download can still give it; a longer one is sent as it comes. */
const WAITED_BYTES = 256 * 1024;

/** False when this request is for others to answer; then nothing was sent. */
export async function answerLazily(
  context: BlobContext,
  exchange: Exchange,
  digest: Digest,
): Promise<boolean> {
  const header = smallRange(context, exchange, digest);
  if (header === undefined) return false;
  const { repository, request, reply } = exchange;
  const blob = await context.lazy.open(repository, digest, { requestId: request.id });
  if (!blob) return false;
  const range = parseRange(header, blob.length);
  if (range === 'unsatisfiable') throw unsatisfiable(blob.length);
  if (typeof range !== 'object') return false;
  const from = blob.begin(range);
  const ready = await comesLazily(blob, range);
  context.metrics.lazyRead(ready ? from : 'blob');
  if (!ready) return false;
  chooseRange(exchange, digest, blob.length);
  try {
    const count = counterOf(context, repository, digest);
    await sendBody(reply, blob, spanOf(range), (bytes) => count('origin', bytes));
  } catch {
    // Cut, or not begun: the client's next request, or this one, is answered by the download.
    return reply.raw.headersSent || reply.raw.destroyed;
  }
  const bytes = range.end - range.start + 1;
  context.serves.lazyRead(repository, digest, { from, bytes, wallMs: reply.elapsedTime });
  return true;
}

/** The Range header, when it asks for a small closed range that no download can give at once. */
function smallRange(context: BlobContext, exchange: Exchange, digest: Digest): string | undefined {
  const { request } = exchange;
  const header = rangeHeader(request, digest);
  const asked = closedRangeLength(header);
  if (asked === undefined || !context.lazy.takes(asked)) return undefined;
  if (matchesEtag(request.headers['if-none-match'], digest)) return undefined;
  const running = context.downloads.running(digest);
  const held = running && holds(running, parseRange(header, running.metainfo.length));
  return held ? undefined : header;
}

/** Whether the download can give all of it now. Its last piece is given out with the end of the download. */
function holds(download: Download, range: ReturnType<typeof parseRange>): boolean {
  if (typeof range !== 'object') return false;
  const { length, pieceLength } = download.metainfo;
  const complete = download.status().state === 'complete';
  if (!complete && range.end >= length - (length % pieceLength || pieceLength)) return false;
  const last = Math.floor(range.end / pieceLength);
  for (let piece = Math.floor(range.start / pieceLength); piece <= last; piece += 1) {
    if (download.source(piece) === undefined) return false;
  }
  return true;
}

/** Waits for a range, or for the start of a long one; false when it cannot be had lazily. */
async function comesLazily(blob: LazyBlob, { start, end }: ByteRange): Promise<boolean> {
  try {
    await blob.ready({ start, end: end - start < WAITED_BYTES ? end : start });
    return true;
  } catch {
    // Why was logged where it failed.
    return false;
  }
}
