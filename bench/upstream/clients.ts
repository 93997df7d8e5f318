/** What pulls in a node: curl, or a real containerd of the node's own. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Processes } from '../fanout/processes.ts';
import type { Image } from './registry.ts';

/** Where an image is asked for; `name` is the registry that its reference begins with. */
export interface Source {
  readonly url: string;
  readonly name: string;
}

export interface Client {
  /** Manifest, config and layers, each checked by its digest. */
  pull(image: Image, source: Source): Promise<void>;
}

interface Place {
  readonly processes: Processes;
  readonly namespace: string;
  readonly folder: string;
  readonly node: number;
}

export async function curlClient({ processes, namespace }: Place): Promise<Client> {
  const curl = ['-sS', '--fail', '--max-time', '600'];
  return {
    async pull({ repository, tag, layers }, { url: registry, name }) {
      const base = `${registry}/v2/${repository}`;
      const accept = ['-H', 'accept: application/vnd.oci.image.manifest.v1+json'];
      await processes.run(namespace, 'curl', [...curl, ...accept, `${base}/manifests/${tag}?ns=${name}`]);
      const check = async (digest: string): Promise<void> => {
        const url = `${base}/blobs/${digest}?ns=${name}`;
        const got = `sha256:${await processes.sha256(namespace, 'curl', [...curl, url])}`;
        if (got !== digest) throw new Error(`${namespace} got ${got} instead of ${digest}`);
      };
      await Promise.all(layers.map(check));
    },
  };
}

export async function containerdClient({ processes, namespace, folder, node }: Place): Promise<Client> {
  const home = path.join(folder, `containerd${node}`);
  const socket = path.join(home, 'c.sock');
  const hosts = path.join(home, 'hosts');
  await mkdir(path.join(hosts, '_default'), { recursive: true });
  const config = path.join(home, 'config.toml');
  await writeFile(
    config,
    `version = 2
root = "${home}/root"
state = "${home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[debug]
  level = "error"
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
`,
  );
  processes.start(namespace, 'containerd', ['-c', config, '--log-level', 'fatal']);
  const ctr = (...args: string[]): Promise<string> =>
    processes.run(namespace, 'ctr', ['-a', socket, ...args]);
  for (let attempt = 0; ; attempt += 1) {
    const up = await ctr('version').then(
      () => true,
      () => false,
    );
    if (up) break;
    if (attempt === 100) throw new Error('containerd did not start');
    await delay(100);
  }
  return {
    async pull({ repository, tag }, { url, name }) {
      const toml = `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`;
      await writeFile(path.join(hosts, '_default/hosts.toml'), toml);
      await ctr('content', 'fetch', '--hosts-dir', hosts, `${name}/${repository}:${tag}`);
    },
  };
}
