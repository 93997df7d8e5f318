/** What pulls in a node: curl, or a real containerd of the node's own. */
import path from 'node:path';
import type { Processes } from '../fanout/processes.ts';
import { startContainerd } from '../measure/containerd.ts';
import type { Image } from './registry.ts';

/** Where an image is asked for; `name` is the registry that its reference begins with. */
export interface Source {
  readonly url: string;
  readonly name: string;
  /** NAME:PASSWORD, where it is asked for one. */
  readonly user?: string | undefined;
}

export interface Client {
  /** Manifest, config and layers, each checked by its digest. */
  pull(image: Image, source: Source): Promise<void>;
  /** Makes room for the next image. */
  forget(image: Image, source: Source): Promise<void>;
}

interface Place {
  readonly processes: Processes;
  readonly namespace: string;
  readonly folder: string;
  readonly node: number;
  /** Only for clients that can. */
  readonly unpack: boolean;
}

export async function curlClient({ processes, namespace }: Place): Promise<Client> {
  return {
    async pull({ repository, tag, layers }, { url: registry, name, user }) {
      const curl = ['-sS', '--fail', '--max-time', '600', ...(user === undefined ? [] : ['-u', user])];
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
    forget: async () => undefined,
  };
}

export async function containerdClient(place: Place): Promise<Client> {
  const { processes, namespace, folder, node, unpack } = place;
  const home = path.join(folder, `containerd${node}`);
  const containerd = await startContainerd({ processes, namespace, home });
  const referenceOf = ({ repository, tag }: Image, { name }: Source): string =>
    `${name}/${repository}:${tag}`;
  return {
    pull: (image, source) =>
      containerd.pull(referenceOf(image, source), source.url, { unpack, user: source.user }),
    forget: (image, source) => containerd.forget(referenceOf(image, source)),
  };
}
