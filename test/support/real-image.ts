/**
 * A real image for the end-to-end tests: a Debian root and three package layers, built once a
 * machine by debootstrap and kept in the temporary folder, because it takes about a minute.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Bump when the recipe changes: a folder of another version is not used. */
const RECIPE = 'v1';
const PACKAGE_LAYERS: readonly (readonly string[])[] = [
  ['python3', 'perl'],
  ['gcc', 'g++', 'make'],
  ['git', 'clang-14'],
];

export interface RealImage {
  /** For skopeo: `oci:<folder>:real`. */
  readonly source: string;
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
}

/** Builds the image, or finds the one that an earlier run built. Needs root, debootstrap and a Debian mirror. */
export async function realImage(): Promise<RealImage> {
  const home = path.join(os.tmpdir(), `shoal-real-image-${RECIPE}`);
  const ready = await stat(path.join(home, 'oci-layout')).then(
    () => true,
    () => false,
  );
  if (!ready) await build(home);
  const index = JSON.parse(await readFile(path.join(home, 'index.json'), 'utf8')) as {
    manifests: [{ digest: string }];
  };
  const manifest = JSON.parse(
    await readFile(
      path.join(home, 'blobs/sha256', index.manifests[0].digest.slice('sha256:'.length)),
      'utf8',
    ),
  ) as { layers: { digest: string; size: number }[] };
  return { source: `oci:${home}:real`, layers: manifest.layers };
}

async function build(home: string): Promise<void> {
  const work = await mkdtemp(path.join(os.tmpdir(), 'shoal-image-build-'));
  try {
    const root = path.join(work, 'root');
    await run('debootstrap', ['--variant=minbase', 'bookworm', root], { maxBuffer: 64 << 20 });
    const layers = [await layer(work, root, ['.'])];
    for (const packages of PACKAGE_LAYERS) {
      const stamp = path.join(work, 'stamp');
      await writeFile(stamp, '');
      await run('chroot', [root, 'apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...packages], {
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
        maxBuffer: 64 << 20,
      });
      await run('chroot', [root, 'apt-get', 'clean']);
      const changed = await run('find', ['.', '-cnewer', stamp, '(', '-type', 'f', '-o', '-type', 'l', ')'], {
        cwd: root,
        maxBuffer: 64 << 20,
      });
      layers.push(
        await layer(
          work,
          root,
          changed.stdout.split('\n').filter((name) => name !== ''),
        ),
      );
    }
    await layout(work, layers);
    // Two test files may build at the same time; the first to finish wins, the other's is dropped.
    await rename(path.join(work, 'oci'), home).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

interface Layer {
  readonly descriptor: { mediaType: string; digest: string; size: number };
  readonly diffId: string;
}

async function layer(work: string, root: string, names: readonly string[]): Promise<Layer> {
  const blobs = path.join(work, 'oci/blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const list = path.join(work, 'names');
  await writeFile(list, names.join('\n'));
  const tar = path.join(work, 'layer.tar');
  await run('tar', ['-C', root, '--numeric-owner', '--sort=name', '-cf', tar, '-T', list], {
    maxBuffer: 64 << 20,
  });
  const diffId = await sha256(tar);
  await run('gzip', ['-n', '-1', '-f', tar]);
  const digest = await sha256(`${tar}.gz`);
  const { size } = await stat(`${tar}.gz`);
  await rename(`${tar}.gz`, path.join(blobs, digest));
  return {
    descriptor: {
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      digest: `sha256:${digest}`,
      size,
    },
    diffId: `sha256:${diffId}`,
  };
}

async function layout(work: string, layers: readonly Layer[]): Promise<void> {
  const oci = path.join(work, 'oci');
  const put = async (value: unknown): Promise<{ digest: string; size: number }> => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = createHash('sha256').update(bytes).digest('hex');
    await writeFile(path.join(oci, 'blobs/sha256', digest), bytes);
    return { digest: `sha256:${digest}`, size: bytes.length };
  };
  const config = await put({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: {
      Cmd: ['/bin/bash'],
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    },
    rootfs: { type: 'layers', diff_ids: layers.map((entry) => entry.diffId) },
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await put({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: layers.map((entry) => entry.descriptor),
  });
  await writeFile(
    path.join(oci, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ mediaType, ...manifest, annotations: { 'org.opencontainers.image.ref.name': 'real' } }],
    }),
  );
  await writeFile(path.join(oci, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
