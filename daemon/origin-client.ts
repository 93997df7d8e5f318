/**
 * HTTP to the origins, tried in the order of the configuration. Every wait has a deadline, and an
 * origin that could not be reached is left alone for twice as long as the attempt took, so that a
 * dead one costs the clients of the mirror one wait and not one a request.
 *
 * Failures are OciErrors: the given code for a 404, UNAVAILABLE (503) when no origin answered.
 * 408 and 429 are never passed on: containerd repeats those on the same host without delay.
 */
import { z } from 'zod';
import type { HttpBody, HttpClient, HttpStream } from '#http';
import {
  type Digest,
  digestAlgorithm,
  digestOf,
  MANIFEST_MEDIA_TYPES,
  MAX_MANIFEST_BYTES,
  OciError,
  type OciErrorCode,
} from '#oci';
import type { Logger } from '#telemetry';
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
import type { Client } from './client.ts';
import { type DraftStream, openDraftStream } from './draft-stream.ts';
import type { Repository } from './repository.ts';

export interface Ask {
  /** Asked with what this client sent, in place of the agent's own credentials. */
  readonly as?: Client | undefined;
  /** The id of the client's request; it goes upstream. */
  readonly requestId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

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
  status(): { readonly url: string; readonly reachable: boolean | undefined }[];
}

interface OriginState {
  readonly url: string;
  reachable: boolean | undefined;
  leftAloneUntil: number;
}

interface OriginRequest {
  readonly method?: 'GET' | 'HEAD';
  /** Undefined: the base of the API. */
  readonly repository: Repository | undefined;
  /** Below the repository. */
  readonly path: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Its answer is large enough for a connection of its own. */
  readonly large?: boolean;
  /** What a 404 means here. */
  readonly notFound: OciErrorCode;
  readonly ask: Ask;
  readonly signal?: AbortSignal | undefined;
}

/** Answers that fit in memory are read within this; containerd gives up on headers after 30 s. */
const ANSWER_DEADLINE_MS = 20_000;
const MIN_BACKOFF_MS = 300;
const MAX_BACKOFF_MS = 10_000;
/** An answer that broke off is a matter of this answer, unless it held its client for this long. */
const SLOW_ANSWER_MS = 5_000;
const MAX_PASSED_BYTES = 8 * 1024 * 1024;
/** From here on a range is read over a connection of its own. */
const LARGE_RANGE_BYTES = 8 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
const MAX_REASON = 500;
const envelope = z.object({ errors: z.array(z.object({ message: z.string() })) });
const MAX_CHALLENGE = 4_096;

export function createOriginClient(options: {
  readonly origins: readonly string[];
  /** Sends the agent's own credentials, when it has some. */
  readonly http: HttpClient;
  /** Sends none of its own: for what is asked in the name of a client. */
  readonly bare: HttpClient;
  /** A client whose rights may be used where the agent's own do not suffice. */
  readonly lender?: ((repository: Repository) => Client | undefined) | undefined;
  /** Whether the agent has credentials of its own. */
  readonly ownCredentials?: boolean | undefined;
  /** An origin refused what the agent itself asked. */
  readonly onRefused?: (() => void) | undefined;
  readonly log: Logger;
}): OriginClient {
  const { http, bare, log } = options;
  const origins: OriginState[] = options.origins.map((url) => ({
    url: url.replace(/\/+$/, ''),
    reachable: undefined,
    leftAloneUntil: 0,
  }));

  /** `as` undefined: as the agent itself. */
  const sendAs = (
    origin: OriginState,
    request: OriginRequest,
    as: Client | undefined,
  ): Promise<HttpStream> => {
    const client = as === undefined ? http : bare;
    const url = address(origin.url, request.repository, request.path, request.query);
    const init = {
      headers: {
        ...request.headers,
        ...(as?.authorization !== undefined && { authorization: as.authorization }),
      },
      ...(request.signal && { signal: request.signal }),
      ...(request.ask.requestId !== undefined && { requestId: request.ask.requestId }),
    };
    if (request.large === true) return client.stream(url, init);
    return client.request(url, { ...init, method: request.method ?? 'GET' });
  };

  /**
   * What the agent asks for itself it asks with its own credentials, and where these do not suffice with
   * those of a client that was let in a moment ago: an agent needs no credentials to serve its clients.
   */
  async function send(origin: OriginState, request: OriginRequest): Promise<HttpStream> {
    if (request.ask.as !== undefined) return sendAs(origin, request, request.ask.as);
    const lender = request.repository && options.lender?.(request.repository);
    const [first, second] = options.ownCredentials ? [undefined, lender] : [lender, undefined];
    const response = await sendAs(origin, request, first);
    if (response.status !== 401 && response.status !== 403) return response;
    options.onRefused?.();
    if (first === second) return response;
    await discard(http, response);
    return sendAs(origin, request, second);
  }

  /** Asks each origin until one gives an answer that `use` accepts. */
  async function askEach<T>(request: OriginRequest, use: (response: HttpStream) => Promise<T>): Promise<T> {
    let refusal: OciError | undefined;
    let unavailable: string | undefined;
    let retryAfter: string | undefined;
    for (const origin of origins) {
      const startedAt = performance.now();
      if (startedAt < origin.leftAloneUntil) {
        unavailable = `${origin.url} was unreachable a moment ago`;
        continue;
      }
      let answered = false;
      try {
        const response = await send(origin, request);
        answered = true;
        origin.reachable = true;
        if (response.status < 300 || response.status === 304) return await use(response);
        const words = await reasonIn(http, response);
        if (isRefusal(response.status)) {
          const next = toRefusal(response, request.notFound, request.ask.as !== undefined, words);
          // A log-in may help, whatever the other origins say.
          if (refusal?.code !== 'UNAUTHORIZED' && (!refusal || next.code === 'UNAUTHORIZED')) refusal = next;
        } else {
          unavailable = `${origin.url} answered ${response.status}${words === undefined ? '' : `: ${words}`}`;
          retryAfter = secondsIn(response.headers['retry-after']);
        }
      } catch (error) {
        request.ask.signal?.throwIfAborted();
        unavailable = `${origin.url}: ${(error as Error).message}`;
        leaveAlone(origin, answered, performance.now() - startedAt);
        log.warn({ origin: origin.url, path: request.path, err: error }, 'origin gave no usable answer');
      }
    }
    if (refusal?.headers['www-authenticate'] !== undefined) throw refusal;
    // Another origin may still have it: only when all have answered is "unknown" the truth.
    if (unavailable !== undefined || !refusal) {
      const message = `no origin can be asked: ${unavailable ?? 'none is configured'}`;
      const headers: Record<string, string> = retryAfter === undefined ? {} : { 'retry-after': retryAfter };
      throw new OciError('UNAVAILABLE', message, undefined, { headers });
    }
    throw refusal;
  }

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
          large: range.end - range.start >= LARGE_RANGE_BYTES,
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
    status: () => origins.map(({ url, reachable }) => ({ url, reachable })),
  };
}

function leaveAlone(origin: OriginState, answered: boolean, costMs: number): void {
  origin.reachable = answered;
  if (answered && costMs < SLOW_ANSWER_MS) return;
  origin.leftAloneUntil = performance.now() + Math.min(MAX_BACKOFF_MS, Math.max(MIN_BACKOFF_MS, 2 * costMs));
}

function address(origin: string, repository: Repository | undefined, path: string, query = ''): string {
  if (repository === undefined) return `${origin}/v2/`;
  const parameters = new URLSearchParams(query);
  parameters.delete('ns');
  if (repository.namespace !== undefined) parameters.set('ns', repository.namespace);
  const text = parameters.toString();
  return `${origin}/v2/${repository.name}/${path}${text === '' ? '' : `?${text}`}`;
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

/** The origin's own decision, as opposed to a state that passes. */
function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}

/** `challenged`: who asked can log in; a challenge to the agent is no matter of its clients. */
function toRefusal(
  { status, headers }: HttpStream,
  notFound: OciErrorCode,
  challenged: boolean,
  words: string | undefined,
): OciError {
  if (status === 404) return new OciError(notFound);
  if (status === 401) {
    const challenge = headers['www-authenticate'] ?? '';
    const plain = challenge.length <= MAX_CHALLENGE && /^[\x20-\x7e]+$/.test(challenge);
    return new OciError('UNAUTHORIZED', undefined, undefined, {
      headers: challenged && plain ? { 'www-authenticate': challenge } : {},
    });
  }
  if (status === 403) return new OciError('DENIED', words);
  return new OciError('UNKNOWN', `the origin refused with ${status}`, undefined, { status });
}

/** Why the origin, or an upstream behind it, does not give it: the first message of an error envelope. */
async function reasonIn(http: HttpClient, response: HttpStream): Promise<string | undefined> {
  try {
    const { errors } = envelope.parse(JSON.parse((await http.read(response, MAX_ERROR_BYTES)).toString()));
    const text = errors[0]?.message.replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
    return text === '' ? undefined : text?.slice(0, MAX_REASON);
  } catch {
    return undefined;
  }
}

/** Retry-After in seconds, as it is passed on. */
function secondsIn(header: string | undefined): string | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header) ? header : undefined;
}

/** Reads a short body, so that its connection can be used again. */
async function discard(http: HttpClient, response: HttpStream): Promise<void> {
  await http.read(response, MAX_ERROR_BYTES).catch(() => undefined);
}
