/**
 * `GET|HEAD /v2/<name>/blobs/<digest>` (OCI distribution-spec, "Pulling blobs"; RFC 9110, section 14).
 *
 * A cached blob is streamed from its file. Any other is streamed from its download as verified
 * bytes arrive; the headers go out at once, since the size is known and containerd waits for them
 * 30 s at most. A small closed range is read lazily and starts no download. Content is never encoded:
 * its bytes are what the digest names.
 */
import type { FastifyReply } from 'fastify';
import type { BlobReader } from '#blobs';
import { type ByteSource, sendBody } from '#http';
import { type Digest, OciError, parseDigest } from '#oci';
import type { Download } from '../download.ts';
import type { OpenedBlob } from '../downloads.ts';
import { followBlob } from '../followed-blob.ts';
import { type BlobContext, chooseRange, counterOf, describe, type Exchange, spanOf } from './blob-answer.ts';
import { matchesEtag } from './etag.ts';
import { answerLazily } from './lazy-blobs.ts';

export async function answerBlob(
  context: BlobContext,
  exchange: Exchange & { readonly digest: string },
): Promise<FastifyReply> {
  const digest = parseDigest(exchange.digest);
  return exchange.request.method === 'HEAD'
    ? answerHead(context, exchange, digest)
    : answerGet(context, exchange, digest);
}

/** Never starts a download. */
async function answerHead(context: BlobContext, exchange: Exchange, digest: Digest): Promise<FastifyReply> {
  const { request, reply } = exchange;
  const cached = await context.store.stat(digest);
  const size =
    cached?.size ?? (await context.downloads.size(exchange.repository, digest, { requestId: request.id }));
  describe(reply, digest);
  if (matchesEtag(request.headers['if-none-match'], digest)) return reply.status(304).send();
  return reply.header('content-length', size).send();
}

async function answerGet(context: BlobContext, exchange: Exchange, digest: Digest): Promise<FastifyReply> {
  // What is read lazily is not in the cache: looking there first would cost as much as the read.
  const known = context.lazy.knows(digest);
  if (known && (await answerLazily(context, exchange, digest))) return exchange.reply;
  const cached = await openCached(context, digest);
  if (cached) return answerCached(context, exchange, digest, cached);
  if (!known && (await answerLazily(context, exchange, digest))) return exchange.reply;
  const opened = await context.downloads.open(exchange.repository, digest, {
    requestId: exchange.request.id,
  });
  if (opened.kind === 'download') return answerRunning(context, exchange, opened.download);
  if (opened.kind === 'small') {
    const range = chooseRange(exchange, digest, opened.bytes.length);
    if (!range) return exchange.reply.send();
    const bytes = opened.bytes.subarray(range.start, range.end + 1);
    const { repository, reply } = exchange;
    counterOf(context, repository, digest)(opened.from, bytes.length);
    const serve = context.serves.begin(repository, digest, 'fetch', reply.elapsedTime);
    serve.sent(bytes.length);
    serve.end();
    return reply.send(bytes);
  }
  if (opened.kind === 'unproved') return answerUnproved(context, exchange, digest, opened);
  const reader = await openCached(context, digest);
  if (!reader) throw new OciError('UNAVAILABLE', 'the blob left the cache a moment ago');
  return answerCached(context, exchange, digest, reader);
}

/** The blob when it is complete and its file unchanged. A changed one is set aside and fetched again. */
async function openCached(context: BlobContext, digest: Digest): Promise<BlobReader | undefined> {
  if (!(await context.store.stat(digest))) return undefined;
  const reader = await context.store.open(digest);
  if (!reader) await context.cache.lost(digest);
  return reader;
}

async function answerCached(
  context: BlobContext,
  exchange: Exchange,
  digest: Digest,
  reader: BlobReader,
): Promise<FastifyReply> {
  const { repository, reply } = exchange;
  const letGo = context.cache.use(digest);
  const serve = context.serves.begin(repository, digest, 'cache', reply.elapsedTime);
  const count = counterOf(context, repository, digest);
  try {
    const range = chooseRange(exchange, digest, reader.size);
    if (!range) return reply.send();
    await sendBody(reply, serve.timed(reader), spanOf(range), (bytes) => {
      count('cache', bytes);
      serve.sent(bytes);
    });
    return reply;
  } finally {
    serve.end();
    letGo();
    await reader.close();
  }
}

async function answerRunning(
  context: BlobContext,
  exchange: Exchange,
  download: Download,
): Promise<FastifyReply> {
  const { reply } = exchange;
  const { digest } = download.metainfo;
  const range = chooseRange(exchange, digest, download.metainfo.length);
  if (!range) return reply.send();
  const { raw } = reply;
  const blob = followBlob(download, range.start, counterOf(context, exchange.repository, digest));
  raw.once('close', blob.close);
  const serve = context.serves.begin(exchange.repository, digest, 'fetch', reply.elapsedTime);
  const source: ByteSource = { read: blob.read, stepAt: blob.stepAt, slow: true };
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

/** Status and headers now, the bytes once the blob is whole and right; the connection is cut when it does not come to that. */
async function answerUnproved(
  context: BlobContext,
  exchange: Exchange,
  digest: Digest,
  { size, proved }: Extract<OpenedBlob, { kind: 'unproved' }>,
): Promise<FastifyReply> {
  const { repository, reply } = exchange;
  const range = chooseRange(exchange, digest, size);
  if (!range) return reply.send();
  const serve = context.serves.begin(repository, digest, 'fetch', reply.elapsedTime);
  const count = counterOf(context, repository, digest);
  const endUse = context.cache.use(digest);
  const opening = proved.then(async () => {
    const reader = await openCached(context, digest);
    if (reader?.size === size) return reader;
    await reader?.close();
    throw new OciError('UNAVAILABLE', 'the blob is not what its manifest says');
  });
  const source: ByteSource = { read: async (at, into) => (await opening).read(at, into), slow: true };
  try {
    await sendBody(reply, serve.timed(source), spanOf(range), (bytes) => {
      count('swarm', bytes);
      serve.sent(bytes);
    });
  } catch {
    // The connection was cut; the failed download was logged, once for all its clients.
  } finally {
    serve.end();
    endUse();
    opening.then((reader) => reader.close()).catch(() => undefined);
  }
  return reply;
}
