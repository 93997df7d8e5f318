/** `shoal cache …`: what an agent's cache holds, and which of it is to stay or to go. */
import { optional, path, url, withDefault } from '#config';
import type { CacheReport } from '#daemon';
import { defineCommand } from './command.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { digestsOf } from './explain.ts';
import { loginOptions, loginSwitches } from './login.ts';
import { withManagement } from './management.ts';
import { platform } from './pull.ts';
import { formatBytes, formatTable } from './text.ts';

const DEADLINE_MS = 30_000;
const PAGE = 10_000;

const agentOptions = {
  agent: withDefault(url, 'http://127.0.0.1:5001', 'URL of the agent'),
  'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
  ...loginOptions,
} as const;
const agent = { deadlineMs: DEADLINE_MS, program: 'an agent' } as const;

export const cacheLs = defineCommand({
  name: 'cache ls',
  summary: "Lists the blobs of an agent's cache, and how much of it is used",
  operands: '',
  operandCount: [0, 0],
  options: agentOptions,
  switches: { json: 'one JSON object a blob', ...loginSwitches },
  configFile: 'none',
  run: ({ values, has }) =>
    withManagement({ ...agent, url: values.agent, values, has }, async (ask) => {
      const rows: string[][] = [];
      let after = '';
      let report: CacheReport;
      do {
        report = await ask<CacheReport>('GET', `cache?n=${PAGE}${after}`);
        for (const blob of report.blobs) {
          if (has('json')) process.stdout.write(`${JSON.stringify(blob)}\n`);
          else rows.push([blob.digest, formatBytes(blob.size), blob.lastUsed, notesOf(blob)]);
        }
        for (const digest of report.pinnedElsewhere) {
          if (has('json')) process.stdout.write(`${JSON.stringify({ digest, pinned: true, here: false })}\n`);
          else rows.push([digest, '-', '-', 'pinned, not here']);
        }
        after = `&after=${report.next}`;
      } while (report.next !== null);
      if (has('json')) return EXIT_DONE;
      const limit = report.limitBytes === null ? '' : ` of ${formatBytes(report.limitBytes)}`;
      const table = formatTable(['digest', 'size', 'last used', ''], rows);
      process.stdout.write(
        `${rows.length === 0 ? '' : table}${formatBytes(report.countedBytes)}${limit} used\n`,
      );
      return EXIT_DONE;
    }),
});

const notesOf = (blob: CacheReport['blobs'][number]): string =>
  [blob.pinned && 'pinned', blob.inUse && 'in use', blob.inContainerd && "containerd's"]
    .filter((note) => note !== false)
    .join(', ');

interface Change {
  readonly here?: boolean;
  readonly wasPinned?: boolean;
  readonly removed?: boolean;
}

function changeCommand(options: {
  readonly name: string;
  readonly summary: string;
  readonly method: 'PUT' | 'DELETE';
  readonly part: 'pins' | 'blobs';
  readonly words: (change: Change) => string;
}): ReturnType<typeof defineCommand> {
  return defineCommand({
    name: options.name,
    summary: `${options.summary}. REF means all blobs of the image, whose manifest is asked of the agent; runs on the agent's own machine`,
    operands: 'REF|DIGEST',
    operandCount: [1, 1],
    options: { ...agentOptions, platform },
    switches: { json: 'one JSON object a blob', ...loginSwitches },
    configFile: 'none',
    run: ({ values, operands: [operand = ''], has }) =>
      withManagement({ ...agent, url: values.agent, values, has }, async (ask, login) => {
        let failures = 0;
        for (const digest of await digestsOf(operand, values, login)) {
          try {
            const change = await ask<Change>(options.method, `cache/${options.part}/${digest}`);
            process.stdout.write(
              has('json') ? `${JSON.stringify(change)}\n` : `${digest} ${options.words(change)}\n`,
            );
          } catch (error) {
            failures += 1;
            process.stderr.write(`${(error as Error).message}\n`);
          }
        }
        return failures === 0 ? EXIT_DONE : EXIT_FAILED;
      }),
  });
}

export const cachePin = changeCommand({
  name: 'cache pin',
  summary:
    'Keeps blobs in the cache, also after a restart, whatever else is evicted; what is not there yet is kept once it comes',
  method: 'PUT',
  part: 'pins',
  words: ({ here }) => (here ? 'is pinned' : 'is pinned, and is not in the cache yet'),
});

export const cacheUnpin = changeCommand({
  name: 'cache unpin',
  summary: 'Lets blobs be evicted again',
  method: 'DELETE',
  part: 'pins',
  words: ({ wasPinned }) => (wasPinned ? 'is not pinned any more' : 'was not pinned'),
});

export const cacheRm = changeCommand({
  name: 'cache rm',
  summary: 'Removes blobs from the cache now, unless they are pinned or in use',
  method: 'DELETE',
  part: 'blobs',
  words: ({ removed }) => (removed ? 'is removed' : 'was not in the cache'),
});
