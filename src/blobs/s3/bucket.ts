/**
 * The requests that the store makes, each with a deadline and retries, and errors in the store's
 * terms. The AWS SDK is loaded here and nowhere else, when a bucket is opened: it takes memory and
 * start-up time that an origin with files does not pay.
 *
 * Checksums that the SDK adds by itself are off: they are newer than many S3 servers. Uploaded bytes
 * are signed by their sha256 instead, which every server checks.
 */
import type { Readable } from 'node:stream';
import type { ListMultipartUploadsOutput, ListObjectsV2Output, S3ClientConfig } from '@aws-sdk/client-s3';
import { BlobStoreError } from '../errors.ts';
import { asS3Error, statusOf } from './errors.ts';

export interface S3Options {
  readonly bucket: string;
  /** Before every key, without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
  /** Undefined: as the AWS environment and configuration files say. */
  readonly region?: string | undefined;
  /** Undefined: AWS's own. */
  readonly endpoint?: string | undefined;
  /** `path` puts the bucket into the path instead of the host name. */
  readonly addressing: 'path' | 'virtual';
  /** Bytes of a part of a multipart upload, at least 5 MiB. */
  readonly partBytes: number;
  /** Most memory that blobs being read may take, in bytes. */
  readonly cacheBytes: number;
}

export interface ObjectState {
  readonly size: number;
  /** As S3 writes it, in quotes. It changes whenever the object is written. */
  readonly etag: string;
}

export interface StoredObject {
  readonly key: string;
  readonly size: number;
}

/** Bytes that were read from where they come, and their hex sha256. */
export interface SignedBytes {
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

export interface Bucket {
  /** The object as it is, or undefined. */
  head(key: string): Promise<ObjectState | undefined>;
  /**
   * Bytes `start` to `end` inclusive of the object while it is still `etag`: 'not-found' when it
   * changed or is gone. Whoever takes the stream destroys it.
   */
  get(
    key: string,
    etag: string,
    range: { start: number; end: number },
    signal: AbortSignal,
  ): Promise<Readable>;
  /** Writes a small object whole; answers with its etag. */
  put(key: string, body: SignedBytes, signal: AbortSignal): Promise<string>;
  beginParts(key: string, signal: AbortSignal): Promise<string>;
  /** Part `number` from 1; answers with its etag. */
  putPart(key: string, id: string, number: number, body: SignedBytes, signal: AbortSignal): Promise<string>;
  /** The object appears, at once and whole. `etags` are the parts' in order. */
  completeParts(key: string, id: string, etags: readonly string[], size: number): Promise<string>;
  abortParts(key: string, id: string): Promise<void>;
  /** Multipart uploads below `prefix` that were neither completed nor aborted, page by page. */
  unfinishedParts(prefix: string): AsyncIterable<{ readonly key: string; readonly id: string }>;
  /** Objects below `prefix`, page by page. */
  list(prefix: string): AsyncIterable<StoredObject>;
  copy(from: string, to: string): Promise<void>;
  delete(key: string): Promise<void>;
  close(): void;
}

const CONNECT_MS = 5_000;
/** Until the answer's head is there, once the request is sent. */
const ANSWER_MS = 30_000;
/** For a request with its retries; a part may be long on the way. */
const OPERATION_MS = 60_000;
const PART_MS = 300_000;
const ATTEMPTS = 4;
const CONNECTIONS = 64;

export async function openBucket(options: S3Options): Promise<Bucket> {
  const sdk = await import('@aws-sdk/client-s3');
  const config: S3ClientConfig = {
    ...(options.region !== undefined && { region: options.region }),
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    forcePathStyle: options.addressing === 'path',
    maxAttempts: ATTEMPTS,
    retryMode: 'standard',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: ANSWER_MS,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets: CONNECTIONS },
      httpsAgent: { keepAlive: true, maxSockets: CONNECTIONS },
    },
  };
  const client = new sdk.S3Client(config);
  /** The sha256 that is known already: the SDK would compute it at once, and hold up the event loop. */
  const hashes = new WeakMap<object, string>();
  client.middlewareStack.add(
    (next) => (step) => {
      const { headers, body } = step.request as { headers: Record<string, string>; body?: unknown };
      const sha256 = body instanceof Uint8Array ? hashes.get(body) : undefined;
      if (sha256 !== undefined) headers['x-amz-content-sha256'] = sha256;
      return next(step);
    },
    { step: 'build', name: 'signByKnownSha256' },
  );
  const Bucket = options.bucket;

  /** Runs one request within its deadline. */
  async function ask<T>(
    operation: string,
    work: (request: { abortSignal: AbortSignal }) => Promise<T>,
    signal?: AbortSignal,
    deadlineMs = OPERATION_MS,
  ): Promise<T> {
    const deadline = AbortSignal.timeout(deadlineMs);
    try {
      return await work({ abortSignal: signal ? AbortSignal.any([signal, deadline]) : deadline });
    } catch (error) {
      if (signal?.aborted) throw new BlobStoreError('closed');
      if (deadline.aborted)
        throw new BlobStoreError('unavailable', `${operation} took over ${deadlineMs} ms`);
      throw error;
    }
  }

  const asked = <T>(operation: string, ...given: Tail<Parameters<typeof ask<T>>>): Promise<T> =>
    ask(operation, ...given).catch((error: unknown) => {
      throw asS3Error(operation, error);
    });

  async function head(Key: string): Promise<ObjectState | undefined> {
    try {
      const answer = await ask('HeadObject', (request) =>
        client.send(new sdk.HeadObjectCommand({ Bucket, Key }), request),
      );
      return { size: answer.ContentLength ?? 0, etag: answer.ETag ?? '' };
    } catch (error) {
      // A HEAD has no body that could say whether the object or the bucket is missing.
      if (statusOf(error) === 404) return undefined;
      throw asS3Error('HeadObject', error);
    }
  }

  return {
    head,
    async get(Key, IfMatch, { start, end }, signal) {
      const command = new sdk.GetObjectCommand({ Bucket, Key, IfMatch, Range: `bytes=${start}-${end}` });
      try {
        const answer = await ask('GetObject', (request) => client.send(command, request), signal);
        const body = answer.Body as unknown as Readable;
        const { ContentLength: length = end + 1 - start } = answer;
        if (length === end + 1 - start) return body;
        body.destroy();
        throw new BlobStoreError('unavailable', 'the server answered with other bytes than were asked for');
      } catch (error) {
        const status = statusOf(error);
        if (status === 404 || status === 412 || status === 416)
          throw new BlobStoreError('not-found', 'the object changed or is gone');
        throw asS3Error('GetObject', error);
      }
    },
    async put(Key, { bytes, sha256 }, signal) {
      const command = new sdk.PutObjectCommand({ Bucket, Key, Body: bytes });
      hashes.set(bytes, sha256);
      const { ETag } = await asked('PutObject', (request) => client.send(command, request), signal, PART_MS);
      return ETag ?? '';
    },
    async beginParts(Key, signal) {
      const { UploadId } = await asked(
        'CreateMultipartUpload',
        (request) => client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }), request),
        signal,
      );
      return UploadId ?? '';
    },
    async putPart(Key, UploadId, PartNumber, { bytes, sha256 }, signal) {
      const command = new sdk.UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body: bytes });
      hashes.set(bytes, sha256);
      const { ETag } = await asked('UploadPart', (request) => client.send(command, request), signal, PART_MS);
      return ETag ?? '';
    },
    async completeParts(Key, UploadId, etags, size) {
      const Parts = etags.map((ETag, index) => ({ ETag, PartNumber: index + 1 }));
      const command = new sdk.CompleteMultipartUploadCommand({
        ...{ Bucket, Key, UploadId },
        MultipartUpload: { Parts },
      });
      const failure = await ask('CompleteMultipartUpload', (request) => client.send(command, request)).then(
        () => undefined,
        (error: unknown) => error,
      );
      // A lost answer makes the SDK ask again, and the upload is then gone because it is complete. The
      // etag is asked for in any case: some servers write it without its quotes in their answer.
      const there = failure === undefined || statusOf(failure) === 404 ? await head(Key) : undefined;
      if (there?.size === size) return there.etag;
      throw asS3Error('CompleteMultipartUpload', failure ?? new Error('the object is not what was uploaded'));
    },
    async abortParts(Key, UploadId) {
      const command = new sdk.AbortMultipartUploadCommand({ Bucket, Key, UploadId });
      await ask('AbortMultipartUpload', (request) => client.send(command, request)).catch(
        (error: unknown) => {
          if (statusOf(error) !== 404) throw asS3Error('AbortMultipartUpload', error);
        },
      );
    },
    async *unfinishedParts(Prefix) {
      let from: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | undefined = {};
      while (from) {
        const command = new sdk.ListMultipartUploadsCommand({ Bucket, Prefix, ...from });
        const page: ListMultipartUploadsOutput = await asked('ListMultipartUploads', (request) =>
          client.send(command, request),
        );
        for (const { Key, UploadId } of page.Uploads ?? [])
          if (Key !== undefined && UploadId !== undefined) yield { key: Key, id: UploadId };
        from = page.IsTruncated
          ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
          : undefined;
      }
    },
    async *list(Prefix) {
      let more: string | undefined;
      do {
        const command = new sdk.ListObjectsV2Command({ Bucket, Prefix, ContinuationToken: more });
        const page: ListObjectsV2Output = await asked('ListObjectsV2', (request) =>
          client.send(command, request),
        );
        for (const { Key, Size } of page.Contents ?? [])
          if (Key !== undefined) yield { key: Key, size: Size ?? 0 };
        more = page.IsTruncated ? page.NextContinuationToken : undefined;
      } while (more !== undefined);
    },
    async copy(from, to) {
      const CopySource = `${Bucket}/${from.split('/').map(encodeURIComponent).join('/')}`;
      const command = new sdk.CopyObjectCommand({ Bucket, Key: to, CopySource });
      await asked('CopyObject', (request) => client.send(command, request), undefined, PART_MS);
    },
    async delete(Key) {
      const command = new sdk.DeleteObjectCommand({ Bucket, Key });
      await asked('DeleteObject', (request) => client.send(command, request));
    },
    close: () => client.destroy(),
  };
}

type Tail<T extends readonly unknown[]> = T extends readonly [unknown, ...infer Rest] ? Rest : never;
