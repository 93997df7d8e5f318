/**
 * Pushes an image layer by layer as it is made (distribution-spec, "Pushing a blob in chunks" with one
 * streamed PATCH), so that neither memory nor a temporary file holds it.
 */
import { createHash, type Hash } from 'node:crypto';
import { Readable, Transform } from 'node:stream';
import { createGzip } from 'node:zlib';
import { createHttpClient, type HttpClient, type HttpResponse } from '#http';
import { type Digest, hostPlatform, sha256DigestOf, toSha256Digest } from '#oci';
import { CommandError } from '../errors.ts';
import { type SampleLayer, sampleLayers } from './sample-image.ts';

interface PushedLayer {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly diffId: Digest;
}

export interface PushedImage {
  readonly digest: Digest;
  readonly layers: number;
  /** Bytes of layers and config. */
  readonly size: number;
}

const LAYER = 'application/vnd.oci.image.layer.v1.tar';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
/** Speed matters more than the size here. */
const GZIP_LEVEL = 1;

export async function pushSampleImage(origin: string, repository: string, tag: string): Promise<PushedImage> {
  const client = await createHttpClient({});
  try {
    const layers: PushedLayer[] = [];
    const sample = sampleLayers(`${repository}:${tag}`);
    for (const layer of sample) layers.push(await pushLayer(client, origin, repository, layer));
    const [os, architecture] = hostPlatform().split('/');
    const created = new Date().toISOString();
    const config = Buffer.from(
      JSON.stringify({
        created,
        architecture,
        os,
        config: { Cmd: ['/app/main.sh'] },
        rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
        history: sample.map((layer) => ({ created, comment: layer.comment })),
      }),
    );
    const configDigest = sha256DigestOf(config);
    await upload(client, origin, repository, Readable.from([config]), async () => configDigest);
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: { mediaType: CONFIG, digest: configDigest, size: config.length },
        layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
      }),
    );
    const put = await client.request(`${origin}/v2/${repository}/manifests/${tag}`, {
      method: 'PUT',
      headers: { 'content-type': MANIFEST },
      body: manifest,
    });
    await expect(client, put, 201, 'the manifest');
    return {
      digest: sha256DigestOf(manifest),
      layers: layers.length,
      size: layers.reduce((sum, layer) => sum + layer.size, config.length),
    };
  } finally {
    await client.close();
  }
}

async function pushLayer(
  client: HttpClient,
  origin: string,
  repository: string,
  layer: SampleLayer,
): Promise<PushedLayer> {
  const plain = createHash('sha256');
  const sent = createHash('sha256');
  let size = 0;
  const tar = Readable.from(layer.content(), { objectMode: false }).pipe(tap((chunk) => plain.update(chunk)));
  const packed = layer.gzip ? tar.pipe(createGzip({ level: GZIP_LEVEL })) : tar;
  const body = packed.pipe(
    tap((chunk) => {
      size += chunk.length;
      return sent.update(chunk);
    }),
  );
  const digest = await upload(client, origin, repository, body, async () => toSha256Digest(sent.digest()));
  const mediaType = layer.gzip ? `${LAYER}+gzip` : LAYER;
  return { mediaType, digest, size, diffId: toSha256Digest(plain.digest()) };
}

/** A stream that lets each chunk be seen. */
function tap(see: (chunk: Buffer) => Hash | undefined): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      see(chunk);
      done(null, chunk);
    },
  });
}

async function upload(
  client: HttpClient,
  origin: string,
  repository: string,
  body: Readable,
  digestOf: () => Promise<Digest>,
): Promise<Digest> {
  const begun = await client.request(`${origin}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  await expect(client, begun, 202, 'the start of an upload');
  const patched = await client.request(location(begun, origin), {
    method: 'PATCH',
    headers: { 'content-type': 'application/octet-stream' },
    body,
  });
  await expect(client, patched, 202, 'the bytes of an upload');
  const digest = await digestOf();
  const end = new URL(location(patched, origin));
  end.searchParams.set('digest', digest);
  const committed = await client.request(end.href, { method: 'PUT', headers: { 'content-length': '0' } });
  await expect(client, committed, 201, 'the end of an upload');
  return digest;
}

function location(response: HttpResponse, origin: string): string {
  return new URL(response.headers['location'] ?? '/', origin).href;
}

async function expect(
  client: HttpClient,
  response: HttpResponse,
  status: number,
  what: string,
): Promise<void> {
  const body = (await client.read(response, 64 * 1024)).toString('utf8');
  if (response.status === status) return;
  throw new CommandError(`the origin answered ${response.status} to ${what}: ${body.slice(0, 300)}`);
}
