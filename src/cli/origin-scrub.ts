import { setTimeout as delay } from 'node:timers/promises';
import { defineCommand } from './command.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { loginSwitches } from './login.ts';
import { originUrlOptions, withManagement } from './management.ts';
import { formatBytes, formatTable } from './text.ts';

const POLL_MS = 500;
const DEADLINE_MS = 30_000;

/** What /api/v1/scrub answers. */
interface State {
  readonly running: boolean;
  readonly checked: Readonly<Record<'blobs' | 'bytes' | 'manifests' | 'references' | 'tags', number>>;
  readonly blobs: number;
  readonly found: number;
  readonly repaired: number;
  readonly problems: readonly {
    readonly kind: string;
    readonly digest: string;
    readonly repository?: string;
    readonly tag?: string;
    readonly target?: string;
    readonly note: string;
  }[];
  readonly error: string | null;
}

export const originScrub = defineCommand({
  name: 'origin scrub',
  summary:
    'Checks every blob, manifest, reference and tag of a running origin, which goes on serving; sets what is damaged aside and fetches it again from members of the swarm. Exits with 1 when something is left to repair',
  operands: '',
  operandCount: [0, 0],
  options: originUrlOptions,
  switches: { json: 'one JSON object: the report', ...loginSwitches },
  configFile: 'none',
  run: ({ values, has }) =>
    withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
      let state = await ask<State>('POST', 'scrub');
      while (state.running) {
        if (process.stderr.isTTY && !has('json')) process.stderr.write(`\r${progress(state)}`);
        await delay(POLL_MS);
        state = await ask<State>('GET', 'scrub');
      }
      if (process.stderr.isTTY && !has('json')) process.stderr.write('\n');
      process.stdout.write(has('json') ? `${JSON.stringify(state)}\n` : report(state));
      return state.found === state.repaired && state.error === null ? EXIT_DONE : EXIT_FAILED;
    }),
});

function progress({ checked, blobs, found }: State): string {
  return `${checked.blobs} of ${blobs} blobs, ${formatBytes(checked.bytes)}, ${found} problems`;
}

function report(state: State): string {
  const { checked, found, repaired, problems, error } = state;
  const sums = `checked ${checked.blobs} blobs (${formatBytes(checked.bytes)}), ${checked.manifests} manifests, ${checked.references} references, ${checked.tags} tags: ${found} problems, ${repaired} repaired\n`;
  const rows = problems.map(({ kind, digest, repository = '', tag, target, note }) => {
    const where = tag === undefined ? repository : `${repository}:${tag}`;
    return [kind, where, target === undefined ? digest : `${digest} -> ${target}`, note] as const;
  });
  const table =
    rows.length === 0 ? '' : `${formatTable(['problem', 'where', 'digest', 'what was done'], rows, 4)}\n`;
  return `${table}${sums}${error === null ? '' : `ended early: ${error}\n`}`;
}
