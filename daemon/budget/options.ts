/** The options of the network budget. */
import { kind, optional, rate, record, repeated, type Values, withDefault } from '#config';
import type { BudgetConfig } from './budget.ts';
import { DAYS, type Day, type Rate, type Window, wallClock } from './schedule.ts';

const connections = kind('N', 'a whole number from 4 to 65000', (text) => {
  const count = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 0;
  return count >= 4 && count <= 65_000 ? count : undefined;
});

const timeZone = kind('ZONE', 'a time zone such as UTC or Europe/Berlin', (text) => {
  try {
    wallClock(text);
    return text;
  } catch {
    return undefined;
  }
});

/** A rate, or no limit. */
export const rateOrNone = kind<Rate>(
  'RATE|unlimited',
  "a rate such as 100MiB/s or 800Mbit/s, or 'unlimited'",
  (text) => (text === 'unlimited' ? text : rate.schema.safeParse(text).data),
);

const window = record<'from' | 'to' | 'days' | 'upload' | 'download', Window>({
  placeholder: "'from=HH:MM to=HH:MM [days=mon-fri] [upload=RATE] [download=RATE]'",
  fields: ['from', 'to', 'days', 'upload', 'download'],
  make(parts) {
    const from = minuteOf(parts.from);
    const to = minuteOf(parts.to);
    if (from === undefined || to === undefined || from === 1440) {
      return 'from and to must be times of day such as 08:00 and 18:30; to may be 24:00';
    }
    const days = daysOf(parts.days ?? DAYS);
    if (days === undefined) return `days must be of ${DAYS.join(', ')}, or a range such as mon-fri`;
    const rates: { upload?: Rate; download?: Rate } = {};
    for (const direction of ['upload', 'download'] as const) {
      const texts = parts[direction];
      if (texts === undefined) continue;
      const value = texts.length === 1 ? rateOrNone.schema.safeParse(texts[0]).data : undefined;
      if (value === undefined) return `${direction}: expected ${rateOrNone.expected}`;
      rates[direction] = value;
    }
    if (Object.keys(rates).length === 0) return 'upload or download is missing';
    return { from, to, days, ...rates };
  },
});

function minuteOf(texts: readonly string[] | undefined): number | undefined {
  const match = texts?.length === 1 ? /^(\d\d?):(\d\d)$/.exec(texts[0] ?? '') : null;
  if (match === null) return undefined;
  const [hours, minutes] = [Number(match[1]), Number(match[2])];
  if (minutes > 59 || hours > 24 || (hours === 24 && minutes > 0)) return undefined;
  return hours * 60 + minutes;
}

/** Days and ranges of them; a range may go over the end of the week. */
function daysOf(texts: readonly string[]): Day[] | undefined {
  const names: readonly string[] = DAYS;
  const days = texts.flatMap((text) => {
    const [first = '', last = first, ...more] = text.toLowerCase().split('-');
    const begin = names.indexOf(first);
    const end = names.indexOf(last);
    if (begin < 0 || end < 0 || more.length > 0) return [undefined];
    return Array.from({ length: ((end - begin + 7) % 7) + 1 }, (_, at) => DAYS[(begin + at) % 7]);
  });
  const known = days.filter((day) => day !== undefined);
  return known.length === days.length && known.length > 0 ? known : undefined;
}

export const budgetOptions = {
  'upload.rate': optional(rate, 'most that the swarm may upload, over all peers'),
  'upload.rollout-rate': optional(
    rateOrNone,
    'the same while a rollout runs (shoal limits --rollout); by default no other than else',
  ),
  'download.rate': optional(
    rate,
    'most that may be downloaded, over all peers; what comes from an origin over HTTP counts too, but for small blobs and lazy reads',
  ),
  'download.rollout-rate': optional(
    rateOrNone,
    'the same while a rollout runs; by default no other than else',
  ),
  'rates.schedule': repeated(
    window,
    "other rates at times of day, such as 'from=08:00 to=18:00 days=mon-fri upload=20MiB/s'; of several that have the time the first counts, and over midnight the day on which it begins",
  ),
  'rates.time-zone': withDefault(timeZone, 'UTC', 'time zone of the schedule; its summer time is followed'),
  'max.connections': withDefault(
    connections,
    '500',
    'connections with members of the swarm, over all blobs; further ones are refused, and nobody is dialled',
  ),
};

export function budgetConfig(values: Values<typeof budgetOptions>): BudgetConfig {
  return {
    ...part('uploadRateBytesPerSecond', values['upload.rate']),
    ...part('downloadRateBytesPerSecond', values['download.rate']),
    ...part('rolloutUploadRate', values['upload.rollout-rate']),
    ...part('rolloutDownloadRate', values['download.rollout-rate']),
    ...(values['rates.schedule'].length > 0 && {
      schedule: values['rates.schedule'],
      timeZone: values['rates.time-zone'],
    }),
  };
}

function part<K extends keyof BudgetConfig>(
  key: K,
  value: BudgetConfig[K],
): Pick<BudgetConfig, K> | undefined {
  return value === undefined ? undefined : ({ [key]: value } as Pick<BudgetConfig, K>);
}
