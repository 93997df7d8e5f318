import { optional, path, url, withDefault } from '#config';
import type { PullReport } from '#daemon';
import { formatImageReference, OciError, parseDigest } from '#oci';
import { defineCommand } from './command.ts';
import { UsageError } from './errors.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { distinct } from './image.ts';
import { type Login, loginOf, loginOptions, loginSwitches } from './login.ts';
import { askManagement } from './management.ts';
import { imageOperand, platform } from './pull.ts';
import { fetchImage, openRegistry } from './registry.ts';
import { formatBytes, formatTable } from './text.ts';

const DEADLINE_MS = 10_000;

export const explainPulls = defineCommand({
  name: 'explain',
  summary:
    "Shows where the seconds and bytes of an agent's last blob fetches went: of the blobs of the image REF " +
    '(its manifest is asked of the agent), of the blob DIGEST, or of all',
  operands: '[REF|DIGEST]',
  operandCount: [0, 1],
  options: {
    agent: withDefault(url, 'http://127.0.0.1:5001', 'URL of the agent'),
    platform,
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
    ...loginOptions,
  },
  switches: { json: 'one JSON object a fetch, as the agent answered', ...loginSwitches },
  configFile: 'none',
  run: async ({ values, operands, has }) => {
    const login = await loginOf(values, has, [values.agent]);
    const asked = await subjectOf(operands[0], values, login);
    const client = await login.client({ caFile: values['ca.file'] });
    try {
      const answer = await askManagement<{ pulls: readonly PullReport[] }>(
        client,
        login,
        'GET',
        `${values.agent}/api/v1/pulls`,
        AbortSignal.timeout(DEADLINE_MS),
        'an agent',
      );
      const pulls = answer.pulls.filter(({ digest }) => asked === undefined || asked.digests.has(digest));
      if (asked?.image !== undefined && !has('json')) {
        const fetched = new Set(pulls.map(({ digest }) => digest)).size;
        process.stdout.write(
          `${asked.image}: fetches of ${fetched} of its ${asked.digests.size} blobs are remembered\n\n`,
        );
      }
      for (const pull of pulls) {
        process.stdout.write(has('json') ? `${JSON.stringify(pull)}\n` : `${describePull(pull)}\n`);
      }
      if (pulls.length > 0) return EXIT_DONE;
      process.stderr.write(
        'The agent remembers no such fetch: it was in the cache, is too long ago, or the agent restarted since.\n',
      );
      return EXIT_FAILED;
    } finally {
      await client.close();
    }
  },
});

/** The blobs that the operand names; undefined for all. */
async function subjectOf(
  operand: string | undefined,
  values: {
    readonly agent: string;
    readonly platform: string;
    readonly 'ca.file'?: string | undefined;
  },
  login: Login,
): Promise<{ readonly image?: string; readonly digests: ReadonlySet<string> } | undefined> {
  if (operand === undefined) return undefined;
  if (/^sha(?:256|512):/.test(operand)) return { digests: new Set([blobOperand(operand)]) };
  const image = imageOperand(operand);
  const registry = await openRegistry(values.agent, { caFile: values['ca.file'], login });
  try {
    const { manifest } = await fetchImage(registry, image, values.platform, AbortSignal.timeout(DEADLINE_MS));
    const digests = distinct(manifest.blobs).map(({ digest }) => digest);
    return { image: formatImageReference(image), digests: new Set(digests) };
  } finally {
    await registry.close();
  }
}

/** A bad one is a mistake on the command line, not a failure. */
function blobOperand(text: string): string {
  try {
    return parseDigest(text);
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    throw new UsageError(error.message);
  }
}

function describePull(pull: PullReport): string {
  const seconds = Object.entries(pull.phasesMs).map(([phase, ms]) => [phase, `${ms} ms`]);
  const bytes = Object.entries(pull.bytesBySource)
    .filter(([, count]) => count > 0)
    .map(([source, count]) => [`from ${source}`, formatBytes(count)]);
  const rows = [...seconds, ['all', `${pull.wallMs} ms`], ...bytes];
  if (pull.size !== null) rows.push(['size', formatBytes(pull.size)]);
  return [
    `${pull.digest} of ${pull.repository}, ${pull.startedAt}: ${pull.state}`,
    ...(pull.error === null ? [] : [`reason: ${pull.error}`]),
    `slowest: ${pull.slowest}`,
    formatTable(['what', 'share'], rows),
  ].join('\n');
}
