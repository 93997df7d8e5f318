/** `shoal report`: what agents gave to clients and fetched, by image and day, and what the swarm spared the origin. */
import { kind, optional, rate, withDefault } from '#config';
import { defineCommand } from './command.ts';
import { EXIT_DONE } from './exit.ts';
import { loginSwitches } from './login.ts';
import { originUrlOptions, withManagement } from './management.ts';
import { formatBytes, formatTable } from './text.ts';

const DEADLINE_MS = 60_000;

const count = kind('N', 'a number from 1 to 400', (text) =>
  /^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= 400 ? Number(text) : undefined,
);

interface Line {
  readonly served: Readonly<Record<'cache' | 'swarm' | 'origin' | 'upstream', number>>;
  readonly fetched: Readonly<Record<'peer' | 'originSwarm' | 'originHttp', number>>;
  readonly savedBytes: number;
  readonly egressRatio: number | null;
  readonly savedSeconds: number | null;
}
type Sent = { readonly http: number; readonly swarm: number } | null;

interface Report {
  readonly from: string;
  readonly to: string;
  readonly originBytesPerSecond: number | null;
  readonly total: Line & { readonly origin: Sent };
  readonly days: readonly (Line & { readonly day: string; readonly origin: Sent })[];
  readonly images: readonly (Line & {
    readonly repository: string | null;
    readonly digest: string | null;
    readonly tags: readonly string[];
    readonly nodes: number;
    readonly days: readonly (Line & { readonly day: string; readonly nodes: number })[];
  })[];
  readonly moreImages: number;
}

export const report = defineCommand({
  name: 'report',
  summary:
    'Shows what agents gave to clients and fetched, by image and by day (UTC), where the bytes came from, and what the swarm spared ' +
    'the origin; with REPOSITORY, each image of it on each day',
  operands: '[REPOSITORY]',
  operandCount: [0, 1],
  options: {
    days: withDefault(count, '7', 'so many days, today included'),
    'origin.rate': optional(
      rate,
      'what the origin can send, such as 1Gbit/s: then it is shown how long it would have sent what came from other agents',
    ),
    ...originUrlOptions,
  },
  switches: { json: 'one JSON object, as the origin answered', ...loginSwitches },
  configFile: 'none',
  run: ({ values, operands, has }) =>
    withManagement({ url: values.url, values, has, deadlineMs: DEADLINE_MS }, async (ask) => {
      const query = new URLSearchParams({ days: String(values.days) });
      if (operands[0] !== undefined) query.set('repository', operands[0]);
      const originRate = values['origin.rate'];
      if (originRate !== undefined) query.set('originBytesPerSecond', String(Math.round(originRate)));
      const answer = await ask<Report>('GET', `report?${query}`);
      process.stdout.write(
        has('json') ? `${JSON.stringify(answer)}\n` : describe(answer, operands[0] !== undefined),
      );
      return EXIT_DONE;
    }),
});

function describe(report: Report, eachDay: boolean): string {
  const { from, to, total, originBytesPerSecond } = report;
  if (report.images.length === 0) return `${from} to ${to} (UTC): no agent has told of anything\n`;
  const timed = originBytesPerSecond !== null;
  const heading = [
    ...['to clients: cache', 'swarm', 'origin', 'fetched: agents', 'origin', 'egress'],
    ...(timed ? ['saved time'] : []),
  ];
  const images = report.images.flatMap((image) => {
    const name = nameOf(image);
    return eachDay
      ? image.days.map((line) => [name, line.day, String(line.nodes), ...cells(line, timed)])
      : [[name, String(image.nodes), ...cells(image, timed)]];
  });
  const days = report.days.map((line) => [
    line.day,
    ...cells(line, timed),
    line.origin === null ? '' : formatBytes(line.origin.http + line.origin.swarm),
  ]);
  const sentByOrigin =
    total.origin === null
      ? ''
      : `; the origin sent ${formatBytes(total.origin.http + total.origin.swarm)} in all`;
  return [
    `${from} to ${to} (UTC): ${formatBytes(total.savedBytes)} came from other agents, egress ratio ${ratio(total)}${sentByOrigin}\n`,
    formatTable(['image', ...(eachDay ? ['day'] : []), 'nodes', ...heading], images, eachDay ? 2 : 1),
    ...(report.moreImages > 0 ? [`and ${report.moreImages} images more, which are in the sums\n`] : []),
    formatTable(['day', ...heading, 'sent by the origin'], days),
    'egress: the share of the fetched bytes that came from the origin; 1 is as direct pulls\n',
    ...(timed
      ? [`saved time: the origin at ${formatBytes(originBytesPerSecond)}/s would have sent so much longer\n`]
      : []),
  ].join('\n');
}

function nameOf({
  repository,
  digest,
  tags,
}: {
  readonly repository: string | null;
  readonly digest: string | null;
  readonly tags: readonly string[];
}): string {
  if (repository === null) return '(others)';
  const short = digest === null ? '(image not known)' : `@${digest.slice(0, digest.indexOf(':') + 13)}`;
  const more = tags.length > 2 ? ',…' : '';
  return tags.length === 0
    ? `${repository}${short}`
    : `${repository}:${tags.slice(0, 2).join(',')}${more}${short}`;
}

function cells({ served, fetched, savedSeconds, ...line }: Line, timed: boolean): string[] {
  const amounts = [served.cache, served.swarm, served.origin + served.upstream, fetched.peer];
  return [
    ...[...amounts, fetched.originSwarm + fetched.originHttp].map(formatBytes),
    ratio(line),
    ...(timed ? [`${(savedSeconds ?? 0).toFixed(0)} s`] : []),
  ];
}

const ratio = ({ egressRatio }: Pick<Line, 'egressRatio'>): string =>
  egressRatio === null ? '-' : egressRatio.toFixed(3);
