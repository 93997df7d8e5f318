/** Pure functions: nothing is kept between calls. */

/** A member that could be connected to. */
export interface Member {
  readonly host: string;
  readonly port: number;
  readonly role?: 'origin' | 'agent';
  readonly zone?: string;
}

export interface RankOptions {
  /** Our own zone; undefined: all members are equally near. */
  readonly zone: string | undefined;
  /** How many will be connected: the share of far members is of these. */
  readonly limit: number;
  /** Of `limit`, how many are far at least (while there are far ones). Default 0.25. */
  readonly farShare?: number;
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
}

/** Levels from the finest common zone up to the common one: 0 in the same zone; unknown zones are near. */
export function zoneDistance(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined || a === b) return 0;
  const left = a.split('/');
  const right = b.split('/');
  let common = 0;
  while (common < left.length && common < right.length && left[common] === right[common]) common++;
  return Math.max(left.length, right.length) - common;
}

/** In [0, size), for a permutation of `list` in place (Fisher-Yates). */
function shuffle<T>(list: T[], random: () => number): T[] {
  for (let last = list.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const a = list[last];
    const b = list[other];
    if (a === undefined || b === undefined) continue;
    list[last] = b;
    list[other] = a;
  }
  return list;
}

/**
 * The order in which to connect to members, best first: agents in random order within their zone
 * distance, with far ones mixed in so that any prefix of the answer has its far share; origins at
 * the end. Random, because members who all dial the same few make a swarm with a bottleneck.
 */
export function rankMembers<M extends Member>(members: readonly M[], options: RankOptions): M[] {
  const random = options.random ?? Math.random;
  const farShare = options.farShare ?? FAR_SHARE;
  const origins: M[] = [];
  const near: M[] = [];
  const far: M[] = [];
  for (const member of members) {
    if (member.role === 'origin') origins.push(member);
    else if (zoneDistance(options.zone, member.zone) === 0) near.push(member);
    else far.push(member);
  }
  shuffle(near, random);
  shuffle(far, random);
  // Nearer far members first, but each second one from anywhere: no group of zones becomes an island.
  const nearest = [...far].sort(
    (a, b) => zoneDistance(options.zone, a.zone) - zoneDistance(options.zone, b.zone),
  );
  const mixed = new Set<M>();
  for (let at = 0; at < far.length; at++) {
    const anywhere = far[at];
    const closest = nearest[at];
    if (closest !== undefined) mixed.add(closest);
    if (anywhere !== undefined) mixed.add(anywhere);
  }
  const ordered: M[] = [];
  const farOnes = [...mixed];
  let farTaken = 0;
  for (const member of near) {
    if (farTaken < farOnes.length && farTaken < farShare * (ordered.length + 1)) {
      const next = farOnes[farTaken++];
      if (next !== undefined) ordered.push(next);
    }
    ordered.push(member);
  }
  return [...ordered, ...farOnes.slice(farTaken), ...shuffle(origins, random)];
}

/** What tells whether a download has to lean on the origin. */
export interface OriginNeed {
  /** Milliseconds since the download began. */
  readonly ageMs: number;
  /** Discovery has answered. */
  readonly discovered: boolean;
  /** Members other than origins that are connected. */
  readonly connectedAgents: number;
  /** Members other than origins that are known and not yet tried. */
  readonly untriedAgents: number;
  /** Missing pieces that no connected peer has. */
  readonly unavailablePieces: number;
  /** Received over the swarm, bytes per second. */
  readonly bytesPerSecond: number;
  /** The pace below which the others do not suffice, bytes per second. */
  readonly enoughBytesPerSecond: number;
}

/** While we know nobody else, discovery gets at most this long to name agents: it answers in a round trip. */
const DISCOVERY_MS = 100;

/** The others get this long to be met and to answer. */
const GRACE_MS = 500;

/** Pace is judged after this long: pipelines fill first. */
const SETTLED_MS = 3_000;

const FAR_SHARE = 0.25;

/** Whether the origin should be connected now. It is used least, but never waited for in vain. */
export function needsOrigin(need: OriginNeed): boolean {
  if (need.connectedAgents === 0 && need.untriedAgents === 0)
    return need.discovered || need.ageMs >= DISCOVERY_MS;
  if (need.ageMs < GRACE_MS) return false;
  if (need.connectedAgents === 0 || need.unavailablePieces > 0) return true;
  return need.ageMs >= SETTLED_MS && need.bytesPerSecond < need.enoughBytesPerSecond;
}
