/**
 * What an agent asks of an origin, each answer checked: bounded, and what it was asked for. Failures are
 * OciErrors as `origins.ts` makes them.
 */
import type { HttpBody, HttpStream } from '#http';
import { type Digest, digestAlgorithm, digestOf, MANIFEST_MEDIA_TYPES, MAX_MANIFEST_BYTES } from '#oci';
import {
  DRAFT_MEDIA_TYPE,
  LEAVES_MEDIA_TYPE,
  type Leaves,
  MAX_LEAVES_BYTES,
  MAX_METAINFO_BYTES,
  type Metainfo,
  parseLeaves,
  parseMetainfo,
} from '#torrent';
import { type DraftStream, openDraftStream } from './draft-stream.ts';
import { type Ask, createOrigins, discard, type Origins, type OriginsOptions } from './origins.ts';
import type { Repository } from './repository.ts';

export interface FetchedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

export interface SmallAnswer {
  readonly contentType: string;
  readonly bytes: Buffer;
  /** The Link header of a paged answer. */
  readonly link: string | undefined;
}

export interface OriginClient {
  /**
   * A manifest by tag or digest, its bytes checked against the digest that the origin names.
   * `'unchanged'` when the origin still has `known` under this reference.
   */
  manifest(
    repository: Repository,
    reference: string,
    ask: Ask & { readonly accept: string; readonly known?: Digest | undefined },
  ): Promise<FetchedManifest | 'unchanged'>;
  /** The metainfo of a blob that the origin has by now, checked to be this blob's. */
  metainfo(repository: Repository, digest: Digest, ask: Ask): Promise<Metainfo>;
  /** The leaf hashes of a blob, said to be this blob's. */
  leaves(repository: Repository, digest: Digest, ask: Ask): Promise<Leaves>;
  /**
   * The metainfo of a blob; or, while the origin still fetches it, its draft from piece `from` on. Both are
   * checked to be this blob's. `ask.signal` ends a draft's stream, too.
   */
  torrent(
    repository: Repository,
    digest: Digest,
    ask: Ask & { readonly from: number; readonly size: number | undefined },
  ): Promise<Metainfo | DraftStream>;
  /** Size of a blob in bytes, by HEAD. */
  blobSize(repository: Repository, digest: Digest, ask: Ask): Promise<number>;
  /** A whole blob of at most `maxBytes`, checked against its digest. */
  smallBlob(repository: Repository, digest: Digest, maxBytes: number, ask: Ask): Promise<Buffer>;
  /** Bytes `start` to `end` inclusive, exactly those; unchecked, as they arrive. A chunk is good until the next is asked for. */
  blobRange(
    repository: Repository,
    digest: Digest,
    range: { readonly start: number; readonly end: number },
    ask: Ask,
  ): Promise<HttpBody>;
  /** Whether a manifest or blob may be read, by HEAD. @throws OciError UNAUTHORIZED with the challenge, DENIED */
  mayRead(repository: Repository, kind: 'manifests' | 'blobs', digest: Digest, ask: Ask): Promise<void>;
  /** `GET /v2/`: whether the API lets in who asks. @throws OciError UNAUTHORIZED with the challenge */
  enter(ask: Ask): Promise<void>;
  /** A small JSON answer that is passed on as it is: tags, referrers. `path` is below the repository. */
  passThrough(repository: Repository, path: string, query: string, ask: Ask): Promise<SmallAnswer>;
  /** What is known of each origin, for status pages. */
  status: Origins['status'];
}

/** Answers that fit in memory are read within this; containerd gives up on headers after 30 s. */
const ANSWER_DEADLINE_MS = 20_000;
const MAX_PASSED_BYTES = 8 * 1024 * 1024;
/** From here on a range is read over a connection of its own. */
const LARGE_RANGE_BYTES = 8 * 1024 * 1024;
export function createOriginClient(options: OriginsOptions): OriginClient {
  const { http } = options;
  const origins = createOrigins(options);
  const askEach = origins.ask;

  const bounded = (ask: Ask): AbortSignal => {
    const deadline = AbortSignal.timeout(ANSWER_DEADLINE_MS);
    return ask.signal ? AbortSignal.any([ask.signal, deadline]) : deadline;
  };

  return {
    manifest(repository, reference, ask) {
      return askEach(
        {
          repository,
          path: `manifests/${reference}`,
          headers: {
            accept: ask.accept,
            ...(ask.known !== undefined && { 'if-none-match': `"${ask.known}"` }),
          },
          notFound: 'MANIFEST_UNKNOWN',
          ask,
          signal: bounded(ask),
        },
        async (response) => {
          if (response.status === 304 && ask.known !== undefined) {
            await discard(http, response);
            return 'unchanged' as const;
          }
          return checkManifest(reference, response, await http.read(response, MAX_MANIFEST_BYTES));
        },
      );
    },
    metainfo(repository, digest, ask) {
      return askEach(
        {
          repository,
          path: `_shoal/torrents/${digest}`,
          // What the origin would first fetch from an upstream is not asked for ahead.
          headers: { accept: 'application/x-bittorrent', prefer: 'wait=0' },
          notFound: 'BLOB_UNKNOWN',
          ask,
          signal: bounded(ask),
        },
        async (response) => metainfoOf(digest, await http.read(response, MAX_METAINFO_BYTES)),
      );
    },
    leaves(repository, digest, ask) {
      return askEach(
        {
          repository,
          path: `_shoal/leaves/${digest}`,
          headers: { accept: LEAVES_MEDIA_TYPE, 'accept-encoding': 'identity' },
          notFound: 'BLOB_UNKNOWN',
          ask,
          signal: bounded(ask),
        },
        async (response) => {
          const leaves = parseLeaves(await http.read(response, MAX_LEAVES_BYTES));
          if (leaves.digest !== digest) throw new RangeError('the leaf hashes are of another blob');
          return leaves;
        },
      );
    },
    async torrent(repository, digest, ask) {
      // The answer begins within the deadline; a draft goes on as long as its blob is fetched.
      const late = new AbortController();
      const timer = setTimeout(
        () => late.abort(new DOMException('it did not answer in time', 'TimeoutError')),
        ANSWER_DEADLINE_MS,
      );
      try {
        return await askEach(
          {
            repository,
            path: `_shoal/torrents/${digest}`,
            ...(ask.from > 0 && { query: `from=${ask.from}` }),
            headers: { accept: `${DRAFT_MEDIA_TYPE}, application/x-bittorrent` },
            notFound: 'BLOB_UNKNOWN',
            ask,
            signal: ask.signal ? AbortSignal.any([ask.signal, late.signal]) : late.signal,
          },
          async (response) => {
            if (response.headers['content-type'] !== DRAFT_MEDIA_TYPE) {
              return metainfoOf(digest, await http.read(response, MAX_METAINFO_BYTES));
            }
            const stream = await openDraftStream(response.body);
            const { header } = stream;
            const sized = ask.size === undefined || ask.size === header.length;
            if (header.digest === digest && header.from === ask.from && sized) return stream;
            stream.close();
            throw new RangeError('the draft is of another blob');
          },
        );
      } finally {
        clearTimeout(timer);
      }
    },
    blobSize(repository, digest, ask) {
      const path = `blobs/${digest}`;
      return askEach(
        { method: 'HEAD', repository, path, notFound: 'BLOB_UNKNOWN', ask, signal: bounded(ask) },
        async (response) => {
          await discard(http, response);
          const size = Number(response.headers['content-length']);
          if (!Number.isSafeInteger(size) || size < 0) throw new RangeError('no Content-Length for a blob');
          return size;
        },
      );
    },
    smallBlob(repository, digest, maxBytes, ask) {
      return askEach(
        {
          repository,
          path: `blobs/${digest}`,
          headers: { 'accept-encoding': 'identity' },
          notFound: 'BLOB_UNKNOWN',
          ask,
          signal: bounded(ask),
        },
        async (response) => {
          const bytes = await http.read(response, maxBytes);
          if (digestOf(digestAlgorithm(digest), bytes) !== digest)
            throw new RangeError('the blob does not have its digest');
          return bytes;
        },
      );
    },
    blobRange(repository, digest, range, ask) {
      return askEach(
        {
          repository,
          path: `blobs/${digest}`,
          headers: { range: `bytes=${range.start}-${range.end}`, 'accept-encoding': 'identity' },
          body: range.end - range.start >= LARGE_RANGE_BYTES ? 'large' : 'prompt',
          notFound: 'BLOB_UNKNOWN',
          ask,
          signal: ask.signal,
        },
        async (response) => {
          const from = /^bytes (\d+)-(\d+)\//.exec(response.headers['content-range'] ?? '');
          const exact = Number(from?.[1]) === range.start && Number(from?.[2]) === range.end;
          if (response.status !== 206 || !exact) {
            response.body.destroy();
            throw new RangeError(`asked for a range, answered ${response.status}`);
          }
          return response.body;
        },
      );
    },
    mayRead(repository, kind, digest, ask) {
      const notFound = kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN';
      const headers = { accept: kind === 'blobs' ? '*/*' : [...MANIFEST_MEDIA_TYPES, '*/*'].join(', ') };
      const path = `${kind}/${digest}`;
      return askEach(
        { method: 'HEAD', repository, path, headers, notFound, ask, signal: bounded(ask) },
        (response) => discard(http, response),
      );
    },
    enter(ask) {
      return askEach(
        { repository: undefined, path: '', notFound: 'UNSUPPORTED', ask, signal: bounded(ask) },
        (response) => discard(http, response),
      );
    },
    passThrough(repository, path, query, ask) {
      return askEach(
        { repository, path, query, notFound: 'NAME_UNKNOWN', ask, signal: bounded(ask) },
        async (response) => ({
          contentType: response.headers['content-type'] ?? 'application/json',
          bytes: await http.read(response, MAX_PASSED_BYTES),
          link: response.headers['link'],
        }),
      );
    },
    status: origins.status,
  };
}

function metainfoOf(digest: Digest, bytes: Buffer): Metainfo {
  const metainfo = parseMetainfo(bytes);
  if (metainfo.digest !== digest) throw new RangeError('the metainfo is of another blob');
  return metainfo;
}

function checkManifest(reference: string, response: HttpStream, bytes: Buffer): FetchedManifest {
  const named = response.headers['docker-content-digest'];
  // The name that was asked for says which algorithm; of a tag, what the origin calls its manifest.
  const byDigest = reference.includes(':');
  const algorithm = /^(sha256|sha512):/.exec(byDigest ? reference : (named ?? ''))?.[1];
  const digest = digestOf(algorithm === 'sha512' ? 'sha512' : 'sha256', bytes);
  if (named !== undefined && named !== digest) throw new RangeError(`the manifest is not ${named}`);
  if (byDigest && reference !== digest) throw new RangeError(`the manifest is not ${reference}`);
  return {
    digest,
    mediaType: response.headers['content-type'] ?? 'application/vnd.oci.image.manifest.v1+json',
    bytes,
  };
}
