/** What the conformance tests share: content by either algorithm, and the ways to push it. */
import { randomBytes } from 'node:crypto';
import { type Digest, type DigestAlgorithm, digestOf } from '#oci';
import { type Answer, type CallOptions, call, LAYER, MANIFEST } from '../support/origin.ts';

export const ALGORITHMS = ['sha256', 'sha512'] as const satisfies readonly DigestAlgorithm[];
const EMPTY_JSON = 'application/vnd.oci.empty.v1+json';

/** A registry under test, by its URL. */
export interface Target {
  readonly url: string;
}

export interface Content {
  readonly bytes: Buffer;
  readonly digest: Digest;
}

export function someContent(algorithm: DigestAlgorithm, size = 512): Content {
  const bytes = randomBytes(size);
  return { bytes, digest: digestOf(algorithm, bytes) };
}

export function ask(
  target: Target,
  method: Parameters<typeof call>[0],
  where: string,
  options?: CallOptions,
): Promise<Answer> {
  return call(method, new URL(where, target.url).href, options);
}

/** POST /blobs/uploads/; answers with the session's location. */
export async function startUpload(target: Target, name: string, query = ''): Promise<string> {
  const { status, headers } = await ask(target, 'POST', `/v2/${name}/blobs/uploads/${query}`);
  if (status !== 202) throw new Error(`POST answered ${status}`);
  return headers['location'] ?? '';
}

/** The location with `?digest=`, as a client adds it to an opaque URL. */
export function closing(target: Target, location: string, digest: string): string {
  const url = new URL(location, target.url);
  url.searchParams.set('digest', digest);
  return url.href;
}

export async function pushContent(target: Target, name: string, { bytes, digest }: Content): Promise<void> {
  const answer = await ask(target, 'POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes });
  if (answer.status !== 201) throw new Error(`push answered ${answer.status}: ${answer.body}`);
}

/** An image whose blobs are pushed, and whose manifest is not. */
export async function someImage(
  target: Target,
  name: string,
  algorithm: DigestAlgorithm,
  extra: Readonly<Record<string, unknown>> = {},
): Promise<Content & { readonly blobs: readonly Content[] }> {
  const config = someContent(algorithm, 64);
  const layer = someContent(algorithm, 2000);
  for (const blob of [config, layer]) await pushContent(target, name, blob);
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: EMPTY_JSON, digest: config.digest, size: config.bytes.length },
      layers: [{ mediaType: LAYER, digest: layer.digest, size: layer.bytes.length }],
      ...extra,
    }),
  );
  return { bytes, digest: digestOf(algorithm, bytes), blobs: [config, layer] };
}

export function putAt(
  target: Target,
  where: string,
  bytes: Uint8Array,
  mediaType = MANIFEST,
): Promise<Answer> {
  return ask(target, 'PUT', where, { headers: { 'content-type': mediaType }, body: bytes });
}
