import { mkdir, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { optional, path as pathKind, string, url, withDefault } from '#config';
import { type Digest, digestHex, type ImageReference, parseDigest, parseRepositoryName } from '#oci';
import { MAX_METAINFO_BYTES, parseMetainfo } from '#torrent';
import { defineCommand } from './command.ts';
import { CommandError, UsageError } from './errors.ts';
import { EXIT_DONE } from './exit.ts';
import { distinct } from './image.ts';
import { loginOf, loginOptions, loginSwitches } from './login.ts';
import { imageOperand, platform } from './pull.ts';
import { fetchImage, openRegistry, type Registry, repositoryPath } from './registry.ts';
import { formatBytes } from './text.ts';

export const torrent = defineCommand({
  name: 'torrent',
  summary:
    'Writes the .torrent file of a blob, or of each layer of an image, for ordinary BitTorrent clients. ' +
    'A bare digest needs --name, the repository that holds the blob',
  operands: 'REF|DIGEST',
  operandCount: [1, 1],
  options: {
    origin: withDefault(url, 'http://127.0.0.1:5000', 'URL of the origin'),
    output: optional(
      pathKind,
      'file (for one torrent) or folder (ending in / or existing) to write to; by default DIGEST.torrent here',
    ),
    name: optional(
      string('REPOSITORY', 'a repository name such as library/app'),
      'repository of a bare digest',
    ),
    platform,
    'ca.file': optional(pathKind, 'PEM file of authorities to trust, beside the built-in ones'),
    ...loginOptions,
  },
  switches: { json: 'one JSON object a torrent: digest, infohash, size, file', ...loginSwitches },
  configFile: 'none',
  run: async ({ values, operands, has }) => {
    const login = await loginOf(values, has, [values.origin]);
    const registry = await openRegistry(values.origin, { caFile: values['ca.file'], login });
    try {
      const { image, digests } = await blobsOf(registry, operands[0] ?? '', values.name, values.platform);
      // What was given to a user holds URLs that are signed for that user.
      const mode = login.knows(values.origin) ? 0o600 : 0o666;
      const fileFor = await destination(values.output, digests.length);
      for (const digest of digests) {
        const bytes = await registry.small(
          repositoryPath(image, `_shoal/torrents/${digest}`),
          MAX_METAINFO_BYTES,
        );
        const { infoHash, length } = parseMetainfo(bytes);
        const file = fileFor(digest);
        await writeFile(`${file}.tmp`, bytes, { flush: true, mode });
        await rename(`${file}.tmp`, file);
        process.stdout.write(
          has('json')
            ? `${JSON.stringify({ digest, infohash: infoHash, size: length, file: path.resolve(file) })}\n`
            : `${digest}  infohash ${infoHash}  ${formatBytes(length)}  ${file}\n`,
        );
      }
      return EXIT_DONE;
    } finally {
      await registry.close();
    }
  },
});

async function blobsOf(
  registry: Registry,
  operand: string,
  name: string | undefined,
  platformName: string,
): Promise<{ readonly image: ImageReference; readonly digests: readonly Digest[] }> {
  if (/^sha(?:256|512):/.test(operand)) {
    const digest = orUsage(() => parseDigest(operand));
    if (name === undefined) throw new UsageError('a bare digest needs its repository: --name library/app');
    const repository = orUsage(() => parseRepositoryName(name));
    return {
      image: { namespace: undefined, repository, reference: { kind: 'digest', digest } },
      digests: [digest],
    };
  }
  const image = imageOperand(operand);
  const { manifest } = await fetchImage(registry, image, platformName);
  // The first blob is the config; the layers are what is worth a torrent.
  const layers = distinct(manifest.blobs.slice(1)).map((layer) => layer.digest);
  if (layers.length === 0) throw new CommandError(`${operand} has no layers`);
  return { image, digests: layers };
}

function orUsage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function destination(output: string | undefined, count: number): Promise<(digest: Digest) => string> {
  const fileName = (digest: Digest): string => `${digestHex(digest)}.torrent`;
  if (output === undefined) return fileName;
  const isFolder = await stat(output).then(
    (info) => info.isDirectory(),
    () => output.endsWith('/'),
  );
  if (!isFolder && count > 1) {
    throw new UsageError(`the image has ${count} layers: give --output a folder (${output}/)`);
  }
  if (!isFolder) return () => output;
  await mkdir(output, { recursive: true });
  return (digest) => path.join(output, fileName(digest));
}
