/** A small image that real clients unpack: one layer, a tar with a file of random bytes. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { sha256DigestOf } from '#oci';
import { IMAGE_TYPE, pushBlob } from './in-process.ts';

const run = promisify(execFile);

/** Makes it and pushes it to an open registry; answers with the digests of its blobs. */
export async function pushRunnableImage(
  registry: string,
  repository: string,
  tag: string,
  layerBytes: number,
): Promise<readonly string[]> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'shoal-image-'));
  try {
    await writeFile(path.join(folder, 'data'), randomBytes(layerBytes));
    await run('tar', ['-C', folder, '-cf', path.join(folder, 'layer.tar'), 'data']);
    const layer = await readFile(path.join(folder, 'layer.tar'));
    const diffId = createHash('sha256').update(layer).digest('hex');
    const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
    const rootfs = { type: 'layers', diff_ids: [`sha256:${diffId}`] };
    const config = Buffer.from(JSON.stringify({ architecture, os: 'linux', config: {}, rootfs }));
    const describe = (mediaType: string, blob: Buffer) => ({
      mediaType,
      digest: sha256DigestOf(blob),
      size: blob.length,
    });
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: IMAGE_TYPE,
      config: describe('application/vnd.oci.image.config.v1+json', config),
      layers: [describe('application/vnd.oci.image.layer.v1.tar', layer)],
    });
    const digests = [
      await pushBlob(registry, repository, config),
      await pushBlob(registry, repository, layer),
    ];
    const answer = await fetch(`${registry}/v2/${repository}/manifests/${tag}`, {
      method: 'PUT',
      headers: { 'content-type': IMAGE_TYPE },
      body: manifest,
    });
    if (answer.status !== 201) throw new Error(`push of a manifest answered ${answer.status}`);
    return digests;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
