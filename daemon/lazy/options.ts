/** The options of lazy reads. */
import { ConfigError, kind, size, type Values, withDefault } from '#config';
import type { LazyLimits } from './lazy-reads.ts';

const MIB = 1024 ** 2;

const sizeOrOff = kind('SIZE|off', "a size such as 4MiB, or 'off'", (text) =>
  text === 'off' ? ('off' as const) : size.schema.safeParse(text).data,
);

/** A share between 0 and 1. */
const percentOrOff = kind('PERCENT|off', "a percentage such as 25%, or 'off'", (text) => {
  if (text === 'off') return 'off' as const;
  const percent = Number(/^(\d{1,3})%$/.exec(text)?.[1]);
  return percent >= 1 && percent <= 100 ? percent / 100 : undefined;
});

export const lazyOptions = {
  'lazy.max-range': withDefault(
    sizeOrOff,
    '4MiB',
    'longest closed range of a blob that is not in the cache for which only the bytes it needs are fetched; longer ones, and open-ended ones, start the download of the whole blob',
  ),
  'lazy.memory': withDefault(size, '64MiB', 'most that is kept in memory of what such ranges fetched'),
  'lazy.whole-after': withDefault(
    percentOrOff,
    '25%',
    'a blob of which such ranges fetched more than this is downloaded whole in the background',
  ),
};

/** @throws ConfigError when the memory is too small for the longest ranges */
export function lazyLimits(values: Values<typeof lazyOptions>): LazyLimits {
  const maxRange = values['lazy.max-range'];
  const maxRangeBytes = maxRange === 'off' ? 0 : maxRange;
  const memoryBytes = values['lazy.memory'];
  const wholeAfter = values['lazy.whole-after'];
  const least = 2 * maxRangeBytes + 4 * MIB;
  if (memoryBytes < least) {
    throw new ConfigError([
      `lazy.memory: ranges of lazy.max-range need at least ${Math.ceil(least / MIB)}MiB`,
    ]);
  }
  return {
    maxRangeBytes,
    memoryBytes,
    wholeAfterShare: wholeAfter === 'off' ? Number.POSITIVE_INFINITY : wholeAfter,
  };
}
