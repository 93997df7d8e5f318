/**
 * The client's side of the distribution API: manifests verified by digest, blobs resumed by Range
 * and verified as they stream. Used against agents and origins alike.
 */
import { createHash, type Hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { createHttpClient, type HttpClient, type HttpResponse } from '#http';
import {
  type Digest,
  digestAlgorithm,
  digestOf,
  digestOfHex,
  type ImageReference,
  imageFor,
  imagesOf,
  isIndexMediaType,
  MANIFEST_MEDIA_TYPES,
  MAX_MANIFEST_BYTES,
  type Manifest,
  type ManifestDescriptor,
  parseDigest,
  parseManifest,
} from '#oci';
import { CommandError, Refusal } from './errors.ts';
import type { Login } from './login.ts';

export interface FetchedManifest {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly manifest: Manifest;
}

/** Where a blob's bytes go. `prefix` bytes are there from an earlier run and already in `hash`. */
export interface BlobSink {
  readonly prefix: number;
  readonly hash: Hash;
  write(bytes: Buffer): Promise<void>;
  /** Forgets everything: the blob starts again at its first byte. */
  restart(): Promise<void>;
}

export interface Registry {
  /** @throws CommandError when it is not there or is not what its digest says */
  manifest(image: ImageReference, signal?: AbortSignal): Promise<FetchedManifest>;
  /** Streams one blob into `sink`; resolves when its digest is right. `onBytes` gets each chunk's length. */
  blob(options: {
    readonly image: ImageReference;
    readonly descriptor: ManifestDescriptor;
    readonly sink: BlobSink;
    readonly onBytes?: (bytes: number) => void;
    readonly signal?: AbortSignal;
  }): Promise<void>;
  /** A small body at a path below the base URL, for example metainfo. */
  small(path: string, maxBytes: number): Promise<Buffer>;
  close(): Promise<void>;
}

/** Tries without a new byte before a blob is given up, and the wait before each, doubled every time. */
const ATTEMPTS = 5;
const FIRST_WAIT_MS = 250;
/** An agent that is fetching may be silent for a while before the first byte. */
const STALL_MS = 60_000;
const MAX_ERROR_BYTES = 64 * 1024;

export async function openRegistry(
  base: string,
  options: { readonly caFile?: string | undefined; readonly login?: Login } = {},
): Promise<Registry> {
  const { caFile, login } = options;
  const settings = { caFile, stallTimeoutMs: STALL_MS };
  const client = await (login ? login.client(settings) : createHttpClient(settings));
  const server: Server = { base, client, advice: (status) => login?.advice(status, base) ?? '' };
  return {
    manifest: (image, signal) => fetchManifest(server, image, signal),
    blob: (request) => fetchBlob(server, request),
    async small(path, maxBytes) {
      const response = await client.request(`${base}${path}`);
      if (response.status !== 200) throw await refusal(server, response, path);
      return client.read(response, maxBytes);
    },
    close: () => client.close(),
  };
}

/** The path of a part of an image's repository, with `?ns=` when the reference names a registry. */
export function repositoryPath(image: ImageReference, part: string): string {
  const query = image.namespace === undefined ? '' : `?ns=${encodeURIComponent(image.namespace)}`;
  return `/v2/${image.repository}/${part}${query}`;
}

/** Who is asked. */
interface Server {
  readonly base: string;
  readonly client: HttpClient;
  /** What a user can do about an answer of this status. */
  advice(status: number): string;
}

async function fetchManifest(
  server: Server,
  image: ImageReference,
  signal: AbortSignal | undefined,
): Promise<FetchedManifest> {
  const { base, client } = server;
  const { reference } = image;
  const name = reference.kind === 'tag' ? reference.tag : reference.digest;
  const response = await client.request(`${base}${repositoryPath(image, `manifests/${name}`)}`, {
    headers: { accept: MANIFEST_MEDIA_TYPES.join(', ') },
    ...(signal && { signal }),
  });
  if (response.status !== 200) throw await refusal(server, response, `manifest ${name}`);
  const bytes = await client.read(response, MAX_MANIFEST_BYTES);
  const told = response.headers['docker-content-digest'];
  const expected = reference.kind === 'digest' ? reference.digest : told && parseDigest(told);
  const digest = digestOf(expected ? digestAlgorithm(expected) : 'sha256', bytes);
  if (expected && expected !== digest) {
    throw new CommandError(`the manifest ${name} that ${base} sent is ${digest}, not ${expected}`);
  }
  return { digest, bytes, manifest: parseManifest(bytes, response.headers['content-type']) };
}

async function fetchBlob(server: Server, request: Parameters<Registry['blob']>[0]): Promise<void> {
  const { base, client } = server;
  const { image, descriptor, sink, signal } = request;
  const path = repositoryPath(image, `blobs/${descriptor.digest}`);
  let hash = sink.hash;
  let received = sink.prefix;
  let failures = 0;
  const restart = async (): Promise<void> => {
    await sink.restart();
    hash = createHash(digestAlgorithm(descriptor.digest));
    received = 0;
  };
  if (received > descriptor.size) await restart();
  while (received < descriptor.size) {
    const before = received;
    let failure: unknown = new CommandError(`${descriptor.digest}: the answer ended early`);
    try {
      const response = await client.request(`${base}${path}`, {
        headers: received > 0 ? { range: `bytes=${received}-` } : {},
        ...(signal && { signal }),
      });
      if (received > 0 && (response.status === 200 || response.status === 416)) await restart();
      if (response.status !== 200 && !isContinuation(response, received)) {
        throw await refusal(server, response, `blob ${descriptor.digest}`);
      }
      for await (const chunk of response.body as AsyncIterable<Buffer>) {
        received += chunk.length;
        if (received > descriptor.size)
          throw new CommandError(`${descriptor.digest}: more bytes than its size`);
        hash.update(chunk);
        await sink.write(chunk);
        request.onBytes?.(chunk.length);
      }
    } catch (error) {
      failure = error;
    }
    if (received === descriptor.size) break;
    signal?.throwIfAborted();
    failures = received > before ? 1 : failures + 1;
    if (failures >= ATTEMPTS || isFinal(failure)) throw failure;
    await delay(FIRST_WAIT_MS * 2 ** (failures - 1), undefined, signal && { signal });
  }
  const digest = digestOfHex(hash.digest('hex'));
  if (digest === descriptor.digest) return;
  await sink.restart();
  throw new CommandError(`the blob that ${base} sent is ${digest}, not ${descriptor.digest}`);
}

function isContinuation(response: HttpResponse, from: number): boolean {
  return response.status === 206 && (response.headers['content-range'] ?? '').startsWith(`bytes ${from}-`);
}

/** An answer that another try will not change. */
function isFinal(error: unknown): boolean {
  return error instanceof Refusal
    ? error.status < 500
    : error instanceof CommandError && !/ended early/.test(error.message);
}

/** The server's own reason, from the OCI envelope or problem details, in one line. */
async function refusal(server: Server, response: HttpResponse, what: string): Promise<Refusal> {
  const body = await server.client.read(response, MAX_ERROR_BYTES).then(
    (bytes) => bytes.toString('utf8'),
    () => '',
  );
  const { status } = response;
  const reasons = [reasonIn(body), server.advice(status)].filter((reason) => reason !== '');
  return new Refusal(
    status,
    [`${what}: the server answered ${status}`, reasons.join('; ')].filter(Boolean).join(', '),
  );
}

function reasonIn(body: string): string {
  try {
    const content = JSON.parse(body) as { errors?: { message?: unknown }[]; detail?: unknown } | null;
    const reason = content?.errors?.[0]?.message ?? content?.detail;
    return typeof reason === 'string' ? reason.slice(0, 300) : '';
  } catch {
    return '';
  }
}

/** Chooses an image of an index. `platform` is `os/arch[/variant]`. */
function choosePlatform(manifest: Manifest, platform: string): ManifestDescriptor {
  const images = imagesOf(manifest.manifests);
  const found = imageFor(images, platform);
  if (found) return found;
  const names = images.map(({ platform: own }) =>
    [own?.os, own?.architecture, own?.variant].filter(Boolean).join('/'),
  );
  throw new CommandError(
    `the image has no ${platform}; choose with --platform: ${names.join(', ') || 'none is named in its index'}`,
  );
}

/** Follows an index to the image of one platform. */
export async function fetchImage(
  registry: Registry,
  image: ImageReference,
  platform: string,
  signal?: AbortSignal,
): Promise<FetchedManifest> {
  const first = await registry.manifest(image, signal);
  if (!isIndexMediaType(first.manifest.mediaType)) return first;
  const { digest } = choosePlatform(first.manifest, platform);
  return registry.manifest({ ...image, reference: { kind: 'digest', digest } }, signal);
}
