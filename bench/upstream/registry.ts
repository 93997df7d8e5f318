/** Debian's docker-registry in a node of its own, open or with a password. */
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { writeHtpasswd } from '../../test/support/access.ts';
import type { Network } from '../fanout/network.ts';
import type { Processes } from '../fanout/processes.ts';
import { buildImage } from '../measure/layered-image.ts';

const REPOSITORY = 'bench/image';

export interface Image {
  readonly repository: string;
  readonly tag: string;
  readonly layers: readonly string[];
  readonly config: string;
}

export interface Upstream {
  readonly url: string;
  /** An image whose layers follow from `seed`, pushed from the registry's own node. */
  push(image: {
    readonly seed: number;
    readonly layers: number;
    readonly layerBytes: number;
  }): Promise<Image>;
  /** Of its config and layers, how often the bytes of that were sent which were asked for most. */
  mostRequests(image: Image): Promise<number>;
}

/** Nobody gets anything without `login`, when there is one. */
export async function startUpstream(given: {
  readonly network: Network;
  readonly processes: Processes;
  readonly node: number;
  readonly folder: string;
  readonly login: { readonly name: string; readonly password: string } | undefined;
}): Promise<Upstream> {
  const { network, processes, node, folder, login } = given;
  const address = `${network.address(node)}:5000`;
  const url = `http://${address}`;
  const config = path.join(folder, 'registry.yml');
  const logFile = path.join(folder, 'registry.log');
  const htpasswd = path.join(folder, 'registry.htpasswd');
  if (login) await writeHtpasswd(htpasswd, { [login.name]: login.password });
  const storage = { filesystem: { rootdirectory: path.join(folder, 'registry') } };
  // What was asked of it is on the standard output; every blob that a push asks for in vain is an error in its log.
  const settings = {
    ...{ version: 0.1, log: { level: 'error' }, storage, http: { addr: address } },
    ...(login && { auth: { htpasswd: { realm: 'upstream', path: htpasswd } } }),
  };
  await writeFile(config, JSON.stringify(settings));
  const serve = `exec docker-registry serve ${config} 2>${path.join(folder, 'registry.errors')}`;
  const child = processes.start(network.namespace(node), 'sh', ['-c', serve]);
  const log = await open(logFile, 'w');
  child.stdout?.on('data', (chunk: Buffer) => void log.appendFile(chunk));
  child.once('close', () => void log.close());
  const run = (command: string, ...args: string[]): Promise<string> =>
    processes.run(network.namespace(node), command, args);
  const retry = ['--retry', '100', '--retry-delay', '1', '--retry-connrefused'];
  await run('curl', '-s', ...retry, '-o', '/dev/null', `${url}/v2/`);

  return {
    url,
    async push({ seed, layers, layerBytes }) {
      const made = path.join(folder, `image${seed}`);
      const image = await buildImage({ folder: made, seed, layers, layerBytes });
      const tag = `v${seed}`;
      const creds = login ? [`--dest-creds=${login.name}:${login.password}`] : [];
      const target = `docker://${address}/${REPOSITORY}:${tag}`;
      await run('skopeo', 'copy', '-q', '--dest-tls-verify=false', ...creds, image.reference, target);
      await rm(made, { recursive: true });
      return { repository: REPOSITORY, tag, layers: image.layers, config: image.config };
    },
    async mostRequests({ layers, config: configDigest }) {
      const text = await readFile(logFile, 'utf8');
      const counts = [configDigest, ...layers].map(
        (digest) => text.match(new RegExp(`"GET /v2/\\S+/blobs/${digest} HTTP/1.1" 20\\d`, 'g'))?.length ?? 0,
      );
      return Math.max(...counts);
    },
  };
}
