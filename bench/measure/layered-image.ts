/** Images that real clients can unpack, built as OCI layouts: gzipped tars of files that do not compress. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { content } from '../../test/support/content.ts';

export interface LayeredImage {
  /** For skopeo: `oci:<folder>:v1`. */
  readonly reference: string;
  /** Bytes of its layers as they are sent. */
  readonly bytes: number;
  readonly layers: readonly string[];
  /** Digest of its config. */
  readonly config: string;
}

interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

const MEDIA = 'application/vnd.oci.image';
const FILE_BYTES = 4 * 1024 ** 2;

/** Writes an image whose content follows from `seed` into `folder`, which must not exist yet. */
export async function buildImage(image: {
  readonly folder: string;
  readonly seed: number;
  readonly layers: number;
  readonly layerBytes: number;
}): Promise<LayeredImage> {
  const { folder, seed } = image;
  const blobs = path.join(folder, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const layers: Descriptor[] = [];
  const diffIds: string[] = [];
  for (let index = 0; index < image.layers; index += 1) {
    const made = await buildLayer(path.join(folder, 'work'), seed + index, image.layerBytes, `layer${index}`);
    await rename(made.file, path.join(blobs, made.digest.slice('sha256:'.length)));
    layers.push({ digest: made.digest, size: made.size });
    diffIds.push(made.diffId);
  }
  const put = async (value: unknown): Promise<Descriptor> => {
    const bytes = Buffer.from(JSON.stringify(value));
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(path.join(blobs, hex), bytes);
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const rootfs = { type: 'layers', diff_ids: diffIds };
  const config = await put({ architecture, os: 'linux', config: { Labels: { seed: String(seed) } }, rootfs });
  const mediaType = `${MEDIA}.manifest.v1+json`;
  const manifest = await put({
    ...{ schemaVersion: 2, mediaType },
    config: { mediaType: `${MEDIA}.config.v1+json`, ...config },
    layers: layers.map((layer) => ({ mediaType: `${MEDIA}.layer.v1.tar+gzip`, ...layer })),
  });
  const annotations = { 'org.opencontainers.image.ref.name': 'v1' };
  const index = { schemaVersion: 2, manifests: [{ mediaType, ...manifest, annotations }] };
  await writeFile(path.join(folder, 'index.json'), JSON.stringify(index));
  await writeFile(path.join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return {
    reference: `oci:${folder}:v1`,
    bytes: layers.reduce((sum, { size }) => sum + size, 0),
    layers: layers.map(({ digest }) => digest),
    config: config.digest,
  };
}

async function buildLayer(
  work: string,
  seed: number,
  bytes: number,
  name: string,
): Promise<Descriptor & { readonly diffId: string; readonly file: string }> {
  const root = path.join(work, name);
  await mkdir(root, { recursive: true });
  await writeFiles(root, seed, bytes);
  const diff = createHash('sha256');
  const sent = createHash('sha256');
  let size = 0;
  const file = path.join(work, `${name}.tar.gz`);
  const child = spawn('tar', ['-C', work, '--sort=name', '--mtime=@0', '-cf', '-', name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await pipeline(
    child.stdout,
    async function* hashed(chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        diff.update(chunk);
        yield chunk;
      }
    },
    createGzip({ level: constants.Z_BEST_SPEED }),
    async function* counted(chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        sent.update(chunk);
        size += chunk.length;
        yield chunk;
      }
    },
    createWriteStream(file),
  );
  await rm(root, { recursive: true });
  return {
    ...{ digest: `sha256:${sent.digest('hex')}`, size, file },
    diffId: `sha256:${diff.digest('hex')}`,
  };
}

async function writeFiles(root: string, seed: number, bytes: number): Promise<void> {
  let handle = await open(path.join(root, '0'), 'w');
  let written = 0;
  for (const chunk of content(seed, bytes)) {
    if (written > 0 && written % FILE_BYTES === 0) {
      await handle.close();
      handle = await open(path.join(root, String(written / FILE_BYTES)), 'w');
    }
    await handle.write(chunk);
    written += chunk.length;
  }
  await handle.close();
}
