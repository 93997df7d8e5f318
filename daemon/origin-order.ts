/**
 * In which order several origins are asked. What a digest names is the same wherever it comes from, so
 * each digest has an origin that is asked first, the same for every agent: the load is shared, and an
 * image of an upstream is fetched by one origin and not by all. A tag is asked in the order of the
 * configuration: it may be newer at one origin than at another, and must not go back and forth.
 */
import { createHash } from 'node:crypto';

export type OriginOrder = 'spread' | 'listed';

/** `path` is what is asked below the repository. */
export function orderFor<O extends { readonly name: string }>(
  origins: readonly O[],
  path: string,
  order: OriginOrder,
): readonly O[] {
  const digest = order === 'listed' ? undefined : /sha\d{3}:[0-9a-f]{64,128}/.exec(path)?.[0];
  if (digest === undefined || origins.length < 2) return origins;
  // Rendezvous hashing: an origin that leaves the list moves its own digests only.
  const weights = new Map(origins.map((origin) => [origin, weigh(origin.name, digest)]));
  return [...origins].sort((a, b) => ((weights.get(a) ?? '') < (weights.get(b) ?? '') ? 1 : -1));
}

function weigh(name: string, digest: string): string {
  return createHash('sha256').update(`${name} ${digest}`).digest('hex');
}
