/**
 * `GET|HEAD /v2/<name>/blobs/<digest>` (OCI distribution-spec, "Pulling blobs"; RFC 9110, section 14).
 *
 * A cached blob is streamed from its file. Any other is streamed from its download as verified
 * bytes arrive; the headers go out at once, since the size is known and containerd waits for them
 * 30 s at most. Content is never encoded: its bytes are what the digest names.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { BlobReader, BlobStore } from '#blobs';
import { type ByteSource, sendBody } from '#http';
import { type ByteRange, type Digest, OciError, parseDigest, parseRange } from '#oci';
import type { Cache } from '../cache.ts';
import type { Download } from '../download.ts';
import type { Downloads } from '../downloads.ts';
import { followBlob } from '../followed-blob.ts';
import type { AgentMetrics } from '../metrics.ts';
import type { Repository } from '../repository.ts';
import type { Serves } from '../serves.ts';
import { matchesEtag } from './etag.ts';

interface Context {
  readonly store: BlobStore;
  readonly cache: Cache;
  readonly downloads: Downloads;
  readonly serves: Serves;
  readonly metrics: AgentMetrics;
}

interface Exchange {
  readonly repository: Repository;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

export async function answerBlob(
  context: Context,
  exchange: Exchange & { readonly digest: string },
): Promise<FastifyReply> {
  const digest = parseDigest(exchange.digest);
  return exchange.request.method === 'HEAD'
    ? answerHead(context, exchange, digest)
    : answerGet(context, exchange, digest);
}

/** Never starts a download. */
async function answerHead(context: Context, exchange: Exchange, digest: Digest): Promise<FastifyReply> {
  const { request, reply } = exchange;
  const cached = await context.store.stat(digest);
  const size =
    cached?.size ?? (await context.downloads.size(exchange.repository, digest, { requestId: request.id }));
  describe(reply, digest);
  if (matchesEtag(request.headers['if-none-match'], digest)) return reply.status(304).send();
  return reply.header('content-length', size).send();
}

/** What every answer about a blob that exists carries. */
function describe(reply: FastifyReply, digest: Digest): void {
  reply
    .header('docker-content-digest', digest)
    .header('etag', `"${digest}"`)
    .header('accept-ranges', 'bytes')
    .type('application/octet-stream');
}

async function answerGet(context: Context, exchange: Exchange, digest: Digest): Promise<FastifyReply> {
  const cached = await openCached(context, digest);
  if (cached) return answerCached(context, exchange, digest, cached);
  const opened = await context.downloads.open(exchange.repository, digest, {
    requestId: exchange.request.id,
  });
  if (opened.kind === 'download') return answerRunning(context, exchange, opened.download);
  if (opened.kind === 'small') {
    const range = chooseRange(exchange, digest, opened.bytes.length);
    if (!range) return exchange.reply.send();
    const bytes = opened.bytes.subarray(range.start, range.end + 1);
    context.metrics.mirrorBytes('origin', bytes.length);
    const { repository, reply } = exchange;
    const serve = context.serves.begin(repository, digest, 'fetch', reply.elapsedTime);
    serve.sent(bytes.length);
    serve.end();
    return reply.send(bytes);
  }
  const reader = await openCached(context, digest);
  if (!reader) throw new OciError('UNAVAILABLE', 'the blob left the cache a moment ago');
  return answerCached(context, exchange, digest, reader);
}

/** The blob when it is complete and its file unchanged. A changed one is set aside and fetched again. */
async function openCached(context: Context, digest: Digest): Promise<BlobReader | undefined> {
  if (!(await context.store.stat(digest))) return undefined;
  const reader = await context.store.open(digest);
  if (!reader) await context.cache.lost(digest);
  return reader;
}

async function answerCached(
  context: Context,
  exchange: Exchange,
  digest: Digest,
  reader: BlobReader,
): Promise<FastifyReply> {
  const { repository, reply } = exchange;
  const unpin = context.cache.pin(digest);
  const serve = context.serves.begin(repository, digest, 'cache', reply.elapsedTime);
  try {
    const range = chooseRange(exchange, digest, reader.size);
    if (!range) return reply.send();
    await sendBody(reply, serve.timed(reader), spanOf(range), (bytes) => {
      context.metrics.mirrorBytes('cache', bytes);
      serve.sent(bytes);
    });
    return reply;
  } finally {
    serve.end();
    unpin();
    await reader.close();
  }
}

async function answerRunning(
  context: Context,
  exchange: Exchange,
  download: Download,
): Promise<FastifyReply> {
  const { reply } = exchange;
  const range = chooseRange(exchange, download.metainfo.digest, download.metainfo.length);
  if (!range) return reply.send();
  const { raw } = reply;
  const blob = followBlob(download, range.start, context.metrics.mirrorBytes);
  raw.once('close', blob.close);
  const serve = context.serves.begin(
    exchange.repository,
    download.metainfo.digest,
    'fetch',
    reply.elapsedTime,
  );
  const source: ByteSource = { read: blob.read, slow: true };
  try {
    await sendBody(reply, serve.timed(source), spanOf(range), (bytes) => {
      blob.sent(bytes);
      serve.sent(bytes);
    });
  } catch {
    // The connection was cut; why the download failed was logged by it, once for all its clients.
  } finally {
    serve.end();
    blob.close();
  }
  return reply;
}

const spanOf = (range: ByteRange): { start: number; end: number } => ({
  start: range.start,
  end: range.end + 1,
});

/**
 * Sets status and length for what is asked of a blob of `size` bytes; undefined for 304. The whole
 * of an empty blob is the range 0 to -1.
 * @throws OciError RANGE_INVALID
 */
function chooseRange(exchange: Exchange, digest: Digest, size: number): ByteRange | undefined {
  const { request, reply } = exchange;
  if (matchesEtag(request.headers['if-none-match'], digest)) {
    describe(reply, digest);
    reply.status(304);
    return undefined;
  }
  const condition = request.headers['if-range'];
  const honoured = condition === undefined || matchesEtag(String(condition), digest);
  const range = honoured ? parseRange(request.headers.range, size) : undefined;
  if (range === 'multiple') {
    // Clients that ask for several (zstd:chunked) fall back to one at a time on a 400.
    throw new OciError('RANGE_INVALID', 'one range a request', undefined, { status: 400 });
  }
  if (range === 'unsatisfiable') {
    throw new OciError('RANGE_INVALID', undefined, undefined, {
      headers: { 'content-range': `bytes */${size}` },
    });
  }
  describe(reply, digest);
  if (!range) {
    reply.status(200).header('content-length', size);
    return { start: 0, end: size - 1 };
  }
  reply
    .status(206)
    .header('content-length', range.end - range.start + 1)
    .header('content-range', `bytes ${range.start}-${range.end}/${size}`);
  return range;
}
