/** `shoal limits`: the rates of a running agent. */
import { duration, kind, optional, path, rate, url, withDefault } from '#config';
import { defineCommand } from './command.ts';
import { EXIT_DONE } from './exit.ts';
import { withManagement } from './management.ts';
import { formatBytes, formatTable } from './text.ts';

const DEADLINE_MS = 10_000;

/** What the agent is told stays as it was written; here it is only checked. */
const wantedRate = kind(
  'RATE|unlimited|configured',
  "a rate such as 100MiB/s, 'unlimited' or 'configured'",
  (text) => {
    if (text === 'configured') return { wanted: null };
    return text === 'unlimited' || rate.schema.safeParse(text).success ? { wanted: text } : undefined;
  },
);
const lasting = kind('DURATION', duration.expected, (text) =>
  duration.schema.safeParse(text).success ? text : undefined,
);
const rollout = kind('DURATION|over', "a duration such as 30m, or 'over'", (text) => {
  if (text === 'over') return { wanted: null };
  return duration.schema.safeParse(text).success ? { wanted: text } : undefined;
});

interface Limit {
  readonly bytesPerSecond: number | null;
  readonly because: string;
  readonly until: string | null;
}

interface Limits {
  readonly upload: Limit;
  readonly download: Limit;
  readonly rollout: { readonly until: string } | null;
  readonly connections: { readonly limit: number };
}

export const limits = defineCommand({
  name: 'limits',
  summary:
    'Shows the rates that a running agent keeps to and why; with a flag sets them, or tells it of a rollout. What is set counts at once, ' +
    'before everything else, over restarts too, and can be set on the node itself only',
  operands: '',
  operandCount: [0, 0],
  options: {
    url: withDefault(url, 'http://127.0.0.1:5001', 'URL of the agent'),
    upload: optional(wantedRate, "most that it may upload; 'configured' takes back what was set"),
    download: optional(wantedRate, "most that it may download; 'configured' takes back what was set"),
    for: optional(lasting, 'how long --upload and --download count; without it until they are set again'),
    rollout: optional(
      rollout,
      "a rollout runs for so long from now: the agent's rollout rates count; 'over' ends it",
    ),
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
  },
  switches: { json: 'one JSON object, as the agent answered' },
  configFile: 'none',
  run: async ({ values, has }) => {
    const body = {
      ...(values.upload && { upload: values.upload.wanted }),
      ...(values.download && { download: values.download.wanted }),
      ...(values.for !== undefined && { for: values.for }),
      ...(values.rollout && { rollout: values.rollout.wanted }),
    };
    const isSet = Object.keys(body).length > 0;
    const agent = { url: values.url, values, has, deadlineMs: DEADLINE_MS, program: 'an agent' };
    return withManagement(agent, async (ask) => {
      const answer = isSet ? await ask<Limits>('PUT', 'limits', body) : await ask<Limits>('GET', 'limits');
      process.stdout.write(has('json') ? `${JSON.stringify(answer)}\n` : text(answer));
      return EXIT_DONE;
    });
  },
});

function text({ upload, download, rollout: running, connections }: Limits): string {
  const row = (name: string, { bytesPerSecond, because, until }: Limit): readonly string[] => {
    const shown = bytesPerSecond === null ? 'unlimited' : `${formatBytes(bytesPerSecond)}/s`;
    return [name, shown, because, until ?? ''];
  };
  const rows = [
    row('upload', upload),
    row('download', download),
    ['connections', String(connections.limit), 'configuration', ''],
    ['rollout', running === null ? 'none' : 'running', '', running?.until ?? ''],
  ];
  return formatTable(['what', 'limit', 'because', 'until'], rows, 4);
}
