import { defineCommand } from './command.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { loginSwitches } from './login.ts';
import { originUrlOptions, withManagement } from './management.ts';
import { formatBytes, formatTable } from './text.ts';

/** A pass over very many repositories takes a while; the origin serves all the time. */
const DEADLINE_MS = 3_600_000;

/** What POST /api/v1/gc answers. */
interface Report {
  readonly dryRun: boolean;
  readonly seconds: number;
  readonly removed: Readonly<Record<'blob' | 'link' | 'manifest' | 'tag', number>>;
  readonly freedBytes: number;
  readonly items: readonly {
    readonly kind: string;
    readonly reason: string;
    readonly digest: string;
    readonly repository?: string;
    readonly tag?: string;
  }[];
  readonly failures: number;
}

export const originGc = defineCommand({
  name: 'origin gc',
  summary:
    'Collects garbage on a running origin now, under its configured rules, and says what went and why; the origin does so all the time by itself',
  operands: '',
  operandCount: [0, 0],
  options: originUrlOptions,
  switches: {
    'dry-run': 'only say what would go now',
    json: 'one JSON object: the report',
    ...loginSwitches,
  },
  configFile: 'none',
  run: ({ values, has }) =>
    withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
      const report = await ask<Report>('POST', `gc?dryRun=${has('dry-run')}`);
      process.stdout.write(has('json') ? `${JSON.stringify(report)}\n` : text(report));
      return report.failures === 0 ? EXIT_DONE : EXIT_FAILED;
    }),
});

function text({ items, removed, freedBytes, dryRun, failures }: Report): string {
  const rows = items.map(({ kind, reason, repository = '', tag, digest }) => {
    const where = tag === undefined ? repository : `${repository}:${tag}`;
    return [kind, where, digest, reason] as const;
  });
  const table = rows.length === 0 ? '' : `${formatTable(['what', 'where', 'digest', 'why'], rows, 4)}\n`;
  const verb = dryRun ? 'would go' : 'went';
  const sums = `${removed.tag} tags, ${removed.manifest} manifests, ${removed.link} blobs of repositories, ${removed.blob} blobs (${formatBytes(freedBytes)}) ${verb}\n`;
  return `${table}${sums}${failures === 0 ? '' : `${failures} could not be looked at; the log says why\n`}`;
}
