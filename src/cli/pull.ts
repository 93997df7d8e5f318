import { optional, path, string, url, withDefault } from '#config';
import { formatImageReference, hostPlatform, type ImageReference, OciError, parseImageReference } from '#oci';
import { defineCommand } from './command.ts';
import { UsageError } from './errors.ts';
import { EXIT_DONE } from './exit.ts';
import { pullImage } from './image.ts';
import { openLayout } from './layout.ts';
import { loginOf, loginOptions, loginSwitches } from './login.ts';
import { createProgress } from './progress.ts';
import { openRegistry } from './registry.ts';
import { formatBytes, formatRate, formatSeconds } from './text.ts';

/** `linux/amd64` or `linux/arm/v7`. */
export const platform = withDefault(
  string(
    'OS/ARCH',
    'a platform such as linux/amd64 or linux/arm/v7',
    /^[a-z0-9]+\/[a-z0-9]+(?:\/[a-z0-9]+)?$/,
  ),
  hostPlatform(),
  'which image of a multi-platform index',
  'the platform of this machine',
);

/** Reads the operand. A bad one is a mistake on the command line, not a failure. */
export function imageOperand(text: string): ImageReference {
  try {
    return parseImageReference(text);
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    throw new UsageError(`'${text}' is no image reference (for example library/app:v7): ${error.message}`);
  }
}

export const pull = defineCommand({
  name: 'pull',
  summary:
    'Fetches an image through an agent and checks every digest. With --oci-layout it is kept on disk, and ' +
    'blobs that are there already, also half, are not fetched again; without it the agent only fills its cache',
  operands: 'REF',
  operandCount: [1, 1],
  options: {
    agent: withDefault(url, 'http://127.0.0.1:5001', 'URL of the agent (an origin works as well)'),
    'oci-layout': optional(path, 'folder that becomes an OCI image layout'),
    platform,
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
    ...loginOptions,
  },
  switches: { json: 'progress and result as JSON, one object a line', ...loginSwitches },
  configFile: 'none',
  run: async ({ values, operands, has }) => {
    const image = imageOperand(operands[0] ?? '');
    const json = has('json');
    const login = await loginOf(values, has, [values.agent]);
    const registry = await openRegistry(values.agent, { caFile: values['ca.file'], login });
    const progress = createProgress(process.stdout, json);
    try {
      const folder = values['oci-layout'];
      const layout = folder === undefined ? undefined : await openLayout(folder);
      const pulled = await pullImage({
        registry,
        image,
        platform: values.platform,
        layout,
        observer: progress,
      });
      const { digest, bytes, manifest } = pulled.image;
      const tag = image.reference.kind === 'tag' ? image.reference.tag : formatImageReference(image);
      await layout?.name({ mediaType: manifest.mediaType, digest, size: bytes.length }, tag);
      progress.end();
      const { size, received, seconds, blobs } = pulled;
      process.stdout.write(
        json
          ? `${JSON.stringify({ event: 'done', image: formatImageReference(image), digest, blobs: blobs.length, size, received, seconds })}\n`
          : `${formatImageReference(image)} ${digest}\n` +
              `${blobs.length} blobs, ${formatBytes(size)}, ${formatBytes(received)} of them received in ` +
              `${formatSeconds(seconds)} (${formatRate(received, seconds)}), all digests right\n`,
      );
      return EXIT_DONE;
    } finally {
      progress.end();
      await registry.close();
    }
  },
});
