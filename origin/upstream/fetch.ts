/**
 * One blob from its upstream to the disk. A connection that breaks or stalls is taken up again by
 * Range where it broke; only several attempts in a row that bring nothing end it. The digest is
 * compared before anything becomes a blob, and what is wrong is removed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { BlobStore, BlobWriter } from '#blobs';
import type { HttpResponse } from '#http';
import { type Digest, OciError } from '#oci';
import type { Logger } from '#telemetry';
import type { IncomingBlob } from './incoming.ts';
import type { Place } from './manifests.ts';

const MAX_FAILURES = 5;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
/** An upstream that says to come back later than this is not waited for. */
const MOST_WAIT_MS = 20_000;
/** What an upstream that drips must reach over a whole blob; the rest is for its start and for resumptions. */
const SLOWEST_BYTES_PER_MS = 16;
const GRACE_MS = 10 * 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** Of a blob whose size nobody says. */
const UNSIZED_MS = 60 * 60_000;

export interface BlobFetch {
  readonly size: number | undefined;
  /** Undefined when the upstream named no size. */
  readonly incoming: IncomingBlob | undefined;
  readonly finished: Promise<void>;
}

/** `first`: the answer to the request for the whole blob, which said 200. */
export function fetchBlob(
  place: Place,
  digest: Digest,
  first: HttpResponse,
  options: {
    readonly blobs: BlobStore;
    readonly writer: BlobWriter;
    /** Called by the writer's `onGrowth`. */
    readonly growth: Set<() => void>;
    /** Before so many bytes are written. @throws OciError NO_SPACE */
    readonly checkSpace: (bytes: number) => Promise<void>;
    readonly onBytes: (bytes: number) => void;
    /** Makes what was written a blob. @throws BlobStoreError 'digest-mismatch' */
    readonly commit: () => Promise<void>;
    readonly asOciError: (error: unknown) => unknown;
    readonly closing: AbortSignal;
    readonly log: Logger;
  },
): BlobFetch {
  const { blobs, writer, growth, log } = options;
  const size = sizeOf(first);
  let complete = false;

  const run = async (): Promise<void> => {
    const sized = GRACE_MS + Math.ceil((size ?? 0) / SLOWEST_BYTES_PER_MS);
    const timeLimit = size === undefined ? UNSIZED_MS : Math.min(sized, LONGEST_TIMER_MS);
    const signal = AbortSignal.any([options.closing, AbortSignal.timeout(timeLimit)]);
    try {
      await writer.append(counted(resumed(place, digest, first, size, signal, log), options));
      await options.commit();
      complete = true;
      for (const listener of growth) listener();
    } catch (error) {
      first.body.destroy();
      await writer
        .cancel()
        .catch((cause: unknown) => log.warn({ err: cause }, 'a broken fetch stays on disk'));
      for (const listener of growth) listener();
      throw options.asOciError(error);
    }
  };
  const finished = run();
  finished.catch(() => undefined);
  first.body.on('error', () => undefined);

  if (size === undefined) return { size, incoming: undefined, finished };
  const readStored = async (position: number, into: Uint8Array): Promise<void> => {
    const reader = await blobs.open(digest);
    if (reader === undefined) throw new OciError('UNAVAILABLE', 'the blob is gone');
    try {
      await reader.read(position, into);
    } finally {
      await reader.close();
    }
  };
  const incoming: IncomingBlob = {
    digest,
    size,
    finished,
    available: () => (complete ? size : Math.min(size, writer.size)),
    async read(position, into) {
      if (complete) return readStored(position, into);
      try {
        await writer.read(position, into);
      } catch (error) {
        // It became a blob under the read.
        await finished;
        if (!complete) throw error;
        await readStored(position, into);
      }
    },
    onGrowth(listener) {
      growth.add(listener);
      return () => void growth.delete(listener);
    },
  };
  return { size, incoming, finished };
}

async function* counted(
  source: AsyncIterable<Buffer>,
  { checkSpace, onBytes }: Pick<Parameters<typeof fetchBlob>[3], 'checkSpace' | 'onBytes'>,
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    onBytes(chunk.length);
    await checkSpace(chunk.length);
    yield chunk;
  }
}

/** The blob's bytes in order, over as many connections as it takes. */
async function* resumed(
  place: Place,
  digest: Digest,
  first: HttpResponse,
  size: number | undefined,
  signal: AbortSignal,
  log: Logger,
): AsyncGenerator<Buffer> {
  let at = 0;
  let failures = 0;
  let response: HttpResponse | undefined = first;
  let skip = 0;
  const abandon = (): void => void response?.body.destroy();
  signal.addEventListener('abort', abandon);
  try {
    for (;;) {
      try {
        if (response === undefined) {
          response = await requestFrom(place, digest, at, size, signal);
          skip = response.status === 200 ? at : 0;
        }
        for await (const chunk of response.body as AsyncIterable<Buffer>) {
          const part = chunk.subarray(Math.min(skip, chunk.length));
          skip -= chunk.length - part.length;
          if (part.length === 0) continue;
          at += part.length;
          failures = 0;
          if (size !== undefined && at > size) throw new Unusable('it sends more than it announced');
          yield part;
        }
        if (at === size || size === undefined) return;
        throw new Error(`the connection ended after ${at} of ${size} bytes`);
      } catch (error) {
        response?.body.destroy();
        response = undefined;
        signal.throwIfAborted();
        failures += 1;
        const passes =
          !(error instanceof Unusable) && !(error instanceof OciError && error.code !== 'UNAVAILABLE');
        const wait = place.client.waitMs();
        if (!passes || failures > MAX_FAILURES || wait > MOST_WAIT_MS) throw failure(place, digest, error);
        log.info({ digest, at, err: error }, 'fetch from the upstream broke; it is resumed');
        const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);
        await delay(Math.max(pause, wait), undefined, { signal });
      }
    }
  } finally {
    signal.removeEventListener('abort', abandon);
    response?.body.destroy();
  }
}

/** What trying again does not mend. */
class Unusable extends Error {}

async function requestFrom(
  { client, repository }: Place,
  digest: Digest,
  at: number,
  size: number | undefined,
  signal: AbortSignal,
): Promise<HttpResponse> {
  const response = await client.request({
    repository,
    path: `blobs/${digest}`,
    headers: at > 0 ? { range: `bytes=${at}-` } : {},
    signal,
  });
  response.body.on('error', () => undefined);
  if (response.status === 200 && (size === undefined || sizeOf(response) === size)) return response;
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
  const fits =
    Number(range?.[1]) === at && (size === undefined || range?.[2] === '*' || Number(range?.[2]) === size);
  if (response.status === 206 && fits) return response;
  await client.discard(response);
  throw new Unusable(`asked for the rest of a blob it answered ${response.status}`);
}

/** Content-Length of a whole blob. */
export function sizeOf({ headers }: Pick<HttpResponse, 'headers'>): number | undefined {
  const text = headers['content-length'] ?? '';
  const size = /^\d{1,16}$/.test(text) ? Number(text) : undefined;
  return size !== undefined && Number.isSafeInteger(size) ? size : undefined;
}

function failure({ client }: Place, digest: Digest, error: unknown): unknown {
  if (error instanceof OciError) return error;
  const message = `the upstream ${client.config.name} did not deliver ${digest}: ${(error as Error).message}`;
  return new OciError('UNAVAILABLE', message, undefined, { headers: { 'retry-after': '5' }, cause: error });
}
