/** The options of garbage collection, and how their values become its configuration. */
import { duration, type Kind, kind, oneOf, repeated, type Values, withDefault } from '#config';
import type { CollectionConfig } from './collector.ts';

interface PerRepository<T> {
  readonly pattern: string;
  readonly value: T;
}

/** `PATTERN=VALUE`: a glob over repository names, and what holds for those that it matches. */
function perRepository<T>(
  placeholder: string,
  example: string,
  read: (text: string) => T | undefined,
): Kind<PerRepository<T>> {
  return kind(`PATTERN=${placeholder}`, `PATTERN=${placeholder}, for example ${example}`, (text) => {
    const [, pattern, rest] = /^([a-z0-9*?._/-]{1,255})=(\S+)$/.exec(text) ?? [];
    const value = rest === undefined ? undefined : read(rest);
    return pattern === undefined || value === undefined ? undefined : { pattern, value };
  });
}

const durationOf = (text: string): number | undefined => duration.schema.safeParse(text).data;
const durationOrOff = kind('DURATION|off', "a duration such as 30s, 5m or 2h, or 'off'", (text) =>
  text === 'off' ? ('off' as const) : durationOf(text),
);

export const collectionOptions = {
  'gc.mode': withDefault(
    oneOf('on', 'dry-run', 'off'),
    'on',
    'garbage collection: on, only reporting what would go (dry-run), or off',
  ),
  'gc.interval': withDefault(duration, '1m', 'pause between two passes; nobody waits for a pass'),
  'gc.lease': withDefault(
    duration,
    '4h',
    'how long at least a pushed, mounted or asked-for blob stays without a manifest; longer than the longest push',
  ),
  'gc.untagged': withDefault(
    durationOrOff,
    'off',
    'remove manifests that no tag, index or subject held for this long',
  ),
  'gc.keep-last': repeated(
    perRepository('N', 'ci/**=10', (text) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined)),
    'keep the N newest tags of the repositories that PATTERN matches, and remove the others',
  ),
  'gc.max-age': repeated(
    perRepository('DURATION', 'ci/**=30d', durationOf),
    'remove tags that were pushed longer ago, unless keep-last keeps them',
  ),
} as const;

export function collectionConfig(values: Values<typeof collectionOptions>): Omit<CollectionConfig, 'now'> {
  const untagged = values['gc.untagged'];
  return {
    leaseMs: values['gc.lease'],
    intervalMs: values['gc.mode'] === 'off' ? undefined : values['gc.interval'],
    untaggedMs: untagged === 'off' ? undefined : untagged,
    keepLast: values['gc.keep-last'].map(({ pattern, value }) => ({ pattern, count: value })),
    maxAge: values['gc.max-age'].map(({ pattern, value }) => ({ pattern, ageMs: value })),
    dryRun: values['gc.mode'] === 'dry-run',
  };
}
