/**
 * Which blobs leave the cache. Pure: state in, decision out. In this order, until enough would be free:
 * 1. what others of the zone hold too, or of which nobody knows whether they do; the longest unused first
 * 2. last copies in the zone, the longest unused first
 * Only so many bytes of last copies are kept back, those that were used last: else what the whole zone wants
 * would find no room beside old blobs that this agent alone has kept. Without a word from a tracker, and where every blob is
 * a last copy, this is plain least recently used.
 */
import type { Digest } from '#oci';

export interface Candidate {
  readonly digest: Digest;
  /** What its going would free. */
  readonly bytes: number;
  /** Milliseconds; only compared. */
  readonly usedAt: number;
  /** Other agents of the zone that hold it; undefined: not known. */
  readonly others: number | undefined;
}

/** The first of the order that free `wantedBytes` together; all of them when they do not. */
export function chooseVictims(
  candidates: readonly Candidate[],
  wantedBytes: number,
  keptBackBytes: number,
): Candidate[] {
  const byAge = candidates.toSorted((a, b) => a.usedAt - b.usedAt);
  const keptBack = new Set<Candidate>();
  let left = keptBackBytes;
  for (const candidate of byAge.toReversed()) {
    if (candidate.others !== 0) continue;
    // One that does not fit ends it, so that no older one is kept in its stead.
    if (candidate.bytes > left) break;
    left -= candidate.bytes;
    keptBack.add(candidate);
  }
  const victims: Candidate[] = [];
  let freed = 0;
  const order = [...byAge.filter((one) => !keptBack.has(one)), ...byAge.filter((one) => keptBack.has(one))];
  for (const candidate of order) {
    if (freed >= wantedBytes) break;
    victims.push(candidate);
    freed += candidate.bytes;
  }
  return victims;
}
