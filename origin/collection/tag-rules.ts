/**
 * Which tags the configured policies remove. Pure: tags and time in, decision out. The first rule
 * of each kind whose pattern matches the repository counts. A tag goes when rules are set for its
 * repository and none of them keeps it: neither is it among the newest N, nor is it young enough.
 */
import path from 'node:path';
import type { RepositoryName } from '#oci';
import type { TagRecord } from '../metadata/collection-port.ts';

/** For the repositories whose name matches a glob: `*` within one part of the name, `**` over parts. */
export interface KeepLast {
  readonly pattern: string;
  /** How many of the newest tags are kept. */
  readonly count: number;
}

export interface MaxAge {
  readonly pattern: string;
  /** Milliseconds since the tag was last pushed. */
  readonly ageMs: number;
}

export interface TagRules {
  readonly keepLast: readonly KeepLast[];
  readonly maxAge: readonly MaxAge[];
}

export type TagReason = 'keep-last' | 'max-age' | 'keep-last and max-age';

export interface JudgedTag extends TagRecord {
  readonly reason: TagReason;
}

/** A judge for the repository's tags; undefined when no rule is for it. */
export function judgeFor(
  name: RepositoryName,
  { keepLast, maxAge }: TagRules,
  now: number,
): ((tags: readonly TagRecord[]) => readonly JudgedTag[]) | undefined {
  const matches = ({ pattern }: { readonly pattern: string }): boolean =>
    path.posix.matchesGlob(name, pattern);
  const count = keepLast.find(matches)?.count;
  const ageMs = maxAge.find(matches)?.ageMs;
  if (count === undefined && ageMs === undefined) return undefined;
  const reason: TagReason =
    ageMs === undefined ? 'keep-last' : count === undefined ? 'max-age' : 'keep-last and max-age';
  return (tags) =>
    [...tags]
      .sort((one, other) => other.taggedAt - one.taggedAt || (one.tag < other.tag ? -1 : 1))
      .slice(count ?? 0)
      .filter((tag) => ageMs === undefined || tag.taggedAt < now - ageMs)
      .map((tag) => ({ ...tag, reason }));
}
