/** A small image that clients can unpack: two layers of random bytes, one of them some MiB. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { Test } from 'tap';
import { temporaryFolder } from './origin.ts';

const run = promisify(execFile);

export interface LayeredImage {
  /** For skopeo: `oci:<folder>:v1`. */
  readonly reference: string;
  /** Digest of its manifest. */
  readonly manifest: string;
}

/** An OCI layout of two layers, one of them some MiB; answers with its `oci:` reference. */
export async function layeredImage(t: Test, largeBytes = 5 << 20): Promise<LayeredImage> {
  const folder = await temporaryFolder(t);
  const blobs = path.join(folder, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const put = async (bytes: Buffer): Promise<{ digest: string; size: number }> => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(path.join(blobs, hex), bytes);
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const layers = [];
  const diffIds = [];
  for (const [name, size] of [
    ['small', 1000],
    ['large', largeBytes],
  ] as const) {
    const content = path.join(folder, name);
    await writeFile(content, randomBytes(size));
    await run('tar', ['-C', folder, '-cf', `${content}.tar`, name]);
    const tar = await readFile(`${content}.tar`);
    diffIds.push(`sha256:${createHash('sha256').update(tar).digest('hex')}`);
    layers.push({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      ...(await put(gzipSync(tar, { level: 1 }))),
    });
  }
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const config = await put(
    Buffer.from(
      JSON.stringify({
        architecture,
        os: 'linux',
        config: {},
        rootfs: { type: 'layers', diff_ids: diffIds },
      }),
    ),
  );
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await put(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType,
        config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
        layers,
      }),
    ),
  );
  await writeFile(
    path.join(folder, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ mediaType, ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'v1' } }],
    }),
  );
  await writeFile(path.join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return { reference: `oci:${folder}:v1`, manifest: manifest.digest };
}
