import { optional, path, url, withDefault } from '#config';
import { createHttpClient } from '#http';
import { parseDigest } from '#oci';
import { defineCommand } from './command.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { askManagement } from './management.ts';
import { formatBytes, formatTable } from './text.ts';

const DEADLINE_MS = 10_000;

/** One fetch, as /api/v1/pulls of the agent tells it. */
interface Pull {
  readonly digest: string;
  readonly repository: string;
  readonly startedAt: string;
  readonly state: string;
  readonly error: string | null;
  readonly size: number | null;
  readonly wallMs: number;
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly bytesBySource: Readonly<Record<string, number>>;
  readonly slowest: string;
}

export const explainPulls = defineCommand({
  name: 'explain',
  summary:
    "Shows where the seconds and bytes of an agent's last blob fetches went; with DIGEST, of that blob",
  operands: '[DIGEST]',
  operandCount: [0, 1],
  options: {
    agent: withDefault(url, 'http://127.0.0.1:5001', 'URL of the agent'),
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
  },
  switches: { json: 'one JSON object a fetch, as the agent answered' },
  configFile: 'none',
  run: async ({ values, operands, has }) => {
    const [operand] = operands;
    const suffix = operand === undefined ? '' : `/${parseDigest(operand)}`;
    const client = await createHttpClient({ caFile: values['ca.file'] });
    try {
      const { pulls } = await askManagement<{ pulls: readonly Pull[] }>(
        client,
        'GET',
        `${values.agent}/api/v1/pulls${suffix}`,
        AbortSignal.timeout(DEADLINE_MS),
        'an agent',
      );
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

function describePull(pull: Pull): string {
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
