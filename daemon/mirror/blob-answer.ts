/** What the answers about a blob have in common: their headers, and which part of it they carry (RFC 9110, section 14). */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { BlobStore } from '#blobs';
import { type ByteRange, type Digest, OciError, parseRange } from '#oci';
import type { Accounts } from '../accounts/index.ts';
import type { Cache } from '../cache.ts';
import type { Downloads } from '../downloads.ts';
import type { LazyReads } from '../lazy/index.ts';
import type { AgentMetrics, MirrorSource } from '../metrics.ts';
import type { Repository } from '../repository.ts';
import type { Serves } from '../serves.ts';
import { matchesEtag } from './etag.ts';

export interface BlobContext {
  readonly store: BlobStore;
  readonly cache: Cache;
  readonly downloads: Downloads;
  readonly lazy: LazyReads;
  readonly serves: Serves;
  readonly metrics: AgentMetrics;
  readonly accounts: Accounts;
}

export interface Exchange {
  readonly repository: Repository;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

/** Counts what a client took of a blob: in the metrics, and in the account of its image. */
export function counterOf(
  { metrics, accounts }: BlobContext,
  repository: Repository,
  digest: Digest,
): (source: MirrorSource, bytes: number) => void {
  const tally = accounts.of(repository, digest);
  return (source, bytes) => {
    metrics.mirrorBytes(source, bytes);
    tally.served(source, bytes);
  };
}

/** What every answer about a blob that exists carries. */
export function describe(reply: FastifyReply, digest: Digest): void {
  reply
    .header('docker-content-digest', digest)
    .header('etag', `"${digest}"`)
    .header('accept-ranges', 'bytes')
    .type('application/octet-stream');
}

export const spanOf = (range: ByteRange): { start: number; end: number } => ({
  start: range.start,
  end: range.end + 1,
});

/**
 * Sets status and length for what is asked of a blob of `size` bytes; undefined for 304. The whole
 * of an empty blob is the range 0 to -1.
 * @throws OciError RANGE_INVALID
 */
export function chooseRange(exchange: Exchange, digest: Digest, size: number): ByteRange | undefined {
  const { request, reply } = exchange;
  if (matchesEtag(request.headers['if-none-match'], digest)) {
    describe(reply, digest);
    reply.status(304);
    return undefined;
  }
  const range = parseRange(rangeHeader(request, digest), size);
  if (range === 'multiple') {
    // Clients that ask for several (zstd:chunked) fall back to one at a time on a 400.
    throw new OciError('RANGE_INVALID', 'one range a request', undefined, { status: 400 });
  }
  if (range === 'unsatisfiable') {
    throw unsatisfiable(size);
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

/** The Range header; undefined when If-Range says that it is for other bytes than these. */
export function rangeHeader(request: FastifyRequest, digest: Digest): string | undefined {
  const condition = request.headers['if-range'];
  const honoured = condition === undefined || matchesEtag(String(condition), digest);
  return honoured ? request.headers.range : undefined;
}

/** 416: the range is not within a blob of `size` bytes. */
export function unsatisfiable(size: number): OciError {
  return new OciError('RANGE_INVALID', undefined, undefined, {
    headers: { 'content-range': `bytes */${size}` },
  });
}
