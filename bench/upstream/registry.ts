/** Debian's docker-registry in a node of its own, with images of random bytes. */
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sha256DigestOf } from '#oci';
import { content, contentDigest } from '../../test/support/content.ts';
import type { Network } from '../fanout/network.ts';
import type { Processes } from '../fanout/processes.ts';

const REPOSITORY = 'bench/image';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

export interface Image {
  readonly repository: string;
  readonly tag: string;
  readonly layers: readonly string[];
}

export interface Upstream {
  readonly url: string;
  /** An image whose layers follow from `seed`, pushed from the registry's own node. */
  push(image: {
    readonly seed: number;
    readonly layers: number;
    readonly layerBytes: number;
  }): Promise<Image>;
  /** Of its layers, how often the bytes of that were asked for which were asked for most. */
  mostRequests(image: Image): Promise<number>;
}

export async function startUpstream(given: {
  readonly network: Network;
  readonly processes: Processes;
  readonly node: number;
  readonly folder: string;
}): Promise<Upstream> {
  const { network, processes, node, folder } = given;
  const address = `${network.address(node)}:5000`;
  const url = `http://${address}`;
  const config = path.join(folder, 'registry.yml');
  const logFile = path.join(folder, 'registry.log');
  const storage = { filesystem: { rootdirectory: path.join(folder, 'registry') } };
  // Its own log would be among our lines; what was asked of it is on the standard output.
  const settings = { version: 0.1, log: { level: 'error' }, storage, http: { addr: address } };
  await writeFile(config, JSON.stringify(settings));
  const child = processes.start(network.namespace(node), 'docker-registry', ['serve', config]);
  const log = await open(logFile, 'w');
  child.stdout?.on('data', (chunk: Buffer) => void log.appendFile(chunk));
  child.once('close', () => void log.close());
  const curl = (...args: string[]): Promise<string> =>
    processes.run(network.namespace(node), 'curl', ['-sS', '--fail', '--max-time', '600', ...args]);
  await curl('--retry', '100', '--retry-delay', '1', '--retry-connrefused', '-o', '/dev/null', `${url}/v2/`);

  async function pushBlob(digest: string, chunks: Iterable<Uint8Array>): Promise<void> {
    const file = path.join(folder, 'pushed');
    const handle = await open(file, 'w');
    for (const chunk of chunks) await handle.write(chunk);
    await handle.close();
    const begun = await curl('-i', '-X', 'POST', `${url}/v2/${REPOSITORY}/blobs/uploads/`);
    const location = new URL(/^location: (\S+)/im.exec(begun)?.[1] ?? '', url);
    location.searchParams.set('digest', digest);
    await curl('-T', file, '-H', 'content-type: application/octet-stream', location.href);
    await rm(file);
  }

  return {
    url,
    async push({ seed, layers, layerBytes }) {
      const digests: string[] = [];
      for (let index = 0; index < layers; index += 1) {
        const digest = contentDigest(seed + index, layerBytes);
        await pushBlob(digest, content(seed + index, layerBytes));
        digests.push(digest);
      }
      const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', seed }));
      await pushBlob(sha256DigestOf(config), [config]);
      const manifest = JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: {
          mediaType: 'application/vnd.oci.image.config.v1+json',
          digest: sha256DigestOf(config),
          size: config.length,
        },
        layers: digests.map((digest) => ({
          ...{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: layerBytes },
        })),
      });
      const file = path.join(folder, 'manifest');
      await writeFile(file, manifest);
      const tag = `v${seed}`;
      await curl('-T', file, '-H', `content-type: ${MANIFEST}`, `${url}/v2/${REPOSITORY}/manifests/${tag}`);
      return { repository: REPOSITORY, tag, layers: digests };
    },
    async mostRequests({ layers }) {
      const text = await readFile(logFile, 'utf8');
      const counts = layers.map(
        (digest) => text.match(new RegExp(`"GET /v2/\\S+/blobs/${digest} HTTP/1.1" 20\\d`, 'g'))?.length ?? 0,
      );
      return Math.max(...counts);
    },
  };
}
