import { optional, path, url, withDefault } from '#config';
import { defineCommand } from './command.ts';
import { CommandError, UsageError } from './errors.ts';
import { EXIT_DONE } from './exit.ts';
import { loginOptions, loginSwitches } from './login.ts';
import { withManagement } from './management.ts';
import { formatBytes, formatTable } from './text.ts';

const DEADLINE_MS = 30_000;
/** Members in one answer; a swarm of ten thousand comes in ten. */
const PAGE = 1_000;

/** What /api/v1/swarms/<blob> answers. */
interface View {
  readonly infoHash: string;
  readonly digest: string | null;
  readonly size: number | null;
  readonly copies: number;
  readonly downloading: number;
  readonly zones: readonly {
    readonly zone: string | null;
    readonly copies: number;
    readonly downloading: number;
  }[];
  readonly medianBytesPerSecond: number | null;
  readonly members: readonly SwarmMember[];
  readonly next: number | null;
}

interface SwarmMember {
  readonly peerId: string;
  readonly address: string | null;
  readonly peer: string | null;
  readonly zone: string | null;
  readonly progress: number;
  readonly bytesPerSecond: number | null;
  readonly slow: boolean;
  readonly lastSeenSeconds: number;
}

export const swarm = defineCommand({
  name: 'swarm',
  summary:
    "Shows a blob's swarm as its tracker knows it: who has it, who downloads it and how fast, how many copies each zone has, and who is slow. Agents announce each half-minute while they download",
  operands: 'DIGEST|INFOHASH',
  operandCount: [1, 1],
  options: {
    origin: withDefault(
      url,
      'http://127.0.0.1:5000',
      'URL of the origin, or of a tracker, which knows infohashes only',
    ),
    'ca.file': optional(path, 'PEM file of authorities to trust, beside the built-in ones'),
    ...loginOptions,
  },
  switches: { json: 'one JSON object: the swarm with all its members', ...loginSwitches },
  configFile: 'none',
  run: async ({ values, operands, has }) => {
    const [blob = ''] = operands;
    if (!/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|[0-9a-f]{40})$/.test(blob)) {
      throw new UsageError(`'${blob}' is neither a digest such as sha256:… nor an infohash of 40 hex digits`);
    }
    const program = 'the origin of this blob';
    return withManagement(
      { url: values.origin, values, has, deadlineMs: DEADLINE_MS, program },
      async (ask) => {
        const page = (offset: number) => ask<View>('GET', `swarms/${blob}?n=${PAGE}&offset=${offset}`);
        const first = await page(0);
        const members = [...first.members];
        for (let next = first.next; next !== null; ) {
          const more = await page(next);
          if (more.next !== null && more.next <= next)
            throw new CommandError('the pages of the answer do not end');
          members.push(...more.members);
          next = more.next;
        }
        const { next: _next, ...view } = { ...first, members };
        process.stdout.write(has('json') ? `${JSON.stringify(view)}\n` : report(view));
        return EXIT_DONE;
      },
    );
  },
});

function report(view: Omit<View, 'next'>): string {
  const { infoHash, digest, size, copies, downloading, members } = view;
  const name = `${digest ?? 'blob'}  infohash ${infoHash}${size === null ? '' : `  ${formatBytes(size)}`}\n`;
  const median = view.medianBytesPerSecond;
  const pace = median === null ? '' : `, the median at ${formatBytes(median)}/s`;
  const sums = `${copies} copies beside the origin's, ${downloading} downloading${pace}\n`;
  if (members.length === 0) return `${name}${sums}`;
  const zones = view.zones.map(({ zone, copies: has, downloading: gets }) => [
    zone ?? '(no zone)',
    String(has),
    String(gets),
    has === 0 ? 'nobody near has it' : has === 1 ? 'a single copy' : 'ok',
  ]);
  const rows = members.map((member) => [
    member.address ?? member.peer ?? `${member.peerId} (only dials)`,
    member.zone ?? '-',
    member.progress === 1 ? 'has it' : `${Math.floor(member.progress * 100)} %`,
    member.bytesPerSecond === null
      ? '-'
      : `${formatBytes(member.bytesPerSecond)}/s${member.slow ? ' slow' : ''}`,
    `${member.lastSeenSeconds} s ago`,
  ]);
  return `${name}${sums}\n${formatTable(['zone', 'copies', 'downloading', 'health'], zones)}\n\n${formatTable(['member', 'zone', 'progress', 'rate', 'seen'], rows, 2)}\n`;
}
