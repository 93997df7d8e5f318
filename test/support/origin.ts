/** An origin in the test's own process, and plain HTTP to it, headers and status in sight. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import type { Test } from 'tap';
import { request } from 'undici';
import { sha256DigestOf } from '#oci';
import { type Origin, type OriginConfig, startOrigin } from '#origin';
import { createLogger, createMetrics } from '#telemetry';
import { sumMetric } from './metrics-text.ts';

const loopback = { host: '127.0.0.1', port: 0 };
const level = process.env['SHOAL_TEST_LOG'] === undefined ? 'silent' : 'debug';

export interface TestOrigin {
  readonly origin: Origin;
  readonly url: string;
  readonly data: string;
  call(method: Method, path: string, options?: CallOptions): Promise<Answer>;
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** Closes it, and starts another on the same folder. */
  restart(): Promise<TestOrigin>;
}

type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE' | 'OPTIONS';

export interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | Readable;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  json(): unknown;
  /** The code of an OCI error envelope. */
  errorCode(): string | undefined;
}

export async function testOrigin(t: Test, config: Partial<OriginConfig> = {}): Promise<TestOrigin> {
  const data = config.data ?? (await temporaryFolder(t));
  const metrics = createMetrics();
  const origin = await startOrigin(
    { listen: loopback, peerListen: loopback, bittorrentListen: loopback, ...config, data },
    { log: createLogger({ program: 'origin', level }), metrics },
  );
  t.teardown(() => origin.close());
  const url = `http://127.0.0.1:${origin.address.port}`;
  return {
    origin,
    url,
    data,
    call: (method, where, options) => call(method, new URL(where, url).href, options),
    metric: async (name, labels = {}) => sumMetric(await metrics.text(), name, labels),
    async restart() {
      await origin.close();
      return testOrigin(t, { ...config, data });
    },
  };
}

export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-origin-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function call(method: Method, url: string, options: CallOptions = {}): Promise<Answer> {
  const response = await request(url, {
    method,
    headers: { ...options.headers },
    body: options.body ?? null,
  });
  const body = Buffer.from(await response.body.arrayBuffer());
  const headers = Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [name, String(value)]),
  );
  const json = (): unknown => JSON.parse(body.toString());
  return {
    status: response.statusCode,
    headers,
    body,
    json,
    errorCode: () => (json() as { errors?: { code?: string }[] }).errors?.[0]?.code,
  };
}

/** Begins an upload; answers with its location. */
export async function beginUpload(origin: TestOrigin, name: string): Promise<string> {
  const { status, headers } = await origin.call('POST', `/v2/${name}/blobs/uploads/`);
  if (status !== 202) throw new Error(`POST answered ${status}`);
  return headers['location'] ?? '';
}

/** Pushes a blob in one request; answers with its digest. */
export async function pushBlob(origin: TestOrigin, name: string, bytes: Uint8Array): Promise<string> {
  const digest = sha256DigestOf(bytes);
  const answer = await origin.call('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes });
  if (answer.status !== 201) throw new Error(`push answered ${answer.status}: ${answer.body}`);
  return digest;
}

export const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const INDEX = 'application/vnd.oci.image.index.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
export const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

/** Pushes config and layers of an image; answers with its manifest, which is not pushed yet. */
export async function imageOf(
  origin: TestOrigin,
  name: string,
  layers: readonly Uint8Array[],
  extra: Readonly<Record<string, unknown>> = {},
): Promise<Buffer> {
  const describe = async (mediaType: string, bytes: Uint8Array) => ({
    mediaType,
    digest: await pushBlob(origin, name, bytes),
    size: bytes.length,
  });
  const config = await describe(CONFIG, Buffer.from('{"architecture":"amd64","os":"linux"}'));
  const descriptors = [];
  for (const layer of layers) descriptors.push(await describe(LAYER, layer));
  return Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: descriptors, ...extra }),
  );
}

export async function putManifest(
  origin: TestOrigin,
  name: string,
  reference: string,
  bytes: Uint8Array | string,
  mediaType: string = MANIFEST,
): Promise<Answer> {
  return origin.call('PUT', `/v2/${name}/manifests/${reference}`, {
    headers: { 'content-type': mediaType },
    body: bytes,
  });
}
