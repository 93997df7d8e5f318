/**
 * Which members an announce is answered with. The conditions, in the order of the code:
 * - a seed needs no seeds, and who leaves needs nobody;
 * - most come from the caller's zone, and when it has too few from the next around it, level by level;
 * - a share is far, from anywhere else: zones that know only themselves become islands, and starve;
 * - of two that are drawn at random the one goes in whose kind (just begun, nearly done) is fewer so
 *   far, then the one that was handed out less: those with much to give and those with much to get
 *   meet, and nobody is named to everybody;
 * - the origin's seeds come last, and have their places also in a large swarm;
 * - never the caller itself, nobody twice, nobody who only dials, nobody whose lease has ended;
 * - who speaks libp2p only is given to callers that speak it: to others its port would be a riddle;
 * - a member on the loopback is given to callers on the loopback only: for others that address is
 *   their own machine.
 *
 * The work goes with how many are wanted, not with how many there are.
 */

import { plainPort } from '#multiaddr';
import type { AdmittedSeed } from './admission.ts';
import type { AgentRecord, Holders } from './agents.ts';
import { handedOutNow, handOut } from './handed-out.ts';
import { isLoopback } from './ip.ts';
import { createListedPeer, type ListedPeer } from './listed-peer.ts';
import type { Member } from './members.ts';
import type { RankRange } from './zones.ts';

export interface Caller {
  readonly peerId: string;
  readonly ip: string;
  readonly port: number;
  readonly complete: boolean;
  readonly numwant: number;
  /** It speaks libp2p. */
  readonly libp2p: boolean;
  /** The ranks of its own zone, then of what is around it, the last being everything. */
  readonly levels: readonly RankRange[];
}

export interface Candidates {
  /** Who announced the blob. */
  readonly members: Holders<Member>;
  /** Whose inventory has it. */
  readonly holders: Holders<AgentRecord>;
  readonly seeds: readonly AdmittedSeed[];
  /** The agent behind an announcing member, which says better where it is reached. */
  readonly agentOf: (peerId: string, ip: string) => AgentRecord | undefined;
  readonly isLeased: (agent: AgentRecord) => boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** Of the places for members, those that are for far ones as long as there are any. */
const FAR_SHARE = 0.25;
/** Draws for each place; after these, neighbours in the list are taken. */
const DRAWS = 4;

/** Someone who could be named. */
type Candidate = AgentRecord | Member;

/** Places [from, to) of one of the two lists. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly at: (place: number) => Candidate | undefined;
}

export function choosePeers(caller: Caller, candidates: Candidates): ListedPeer[] {
  const { numwant } = caller;
  const { members, holders, agentOf, now } = candidates;
  const random = candidates.random ?? Math.random;
  const seeds = caller.complete ? [] : candidates.seeds;
  const chosen: ListedPeer[] = [];
  const taken = new Set([`${caller.ip} ${caller.port}`]);
  const seen = new Set<Candidate>();
  let [begun, advanced] = [0, 0];

  const take = (peer: ListedPeer | undefined): boolean => {
    if (peer === undefined || peer.peerId === caller.peerId) return false;
    if (isLoopback(peer.host) && !isLoopback(caller.ip)) return false;
    if (peer.port === undefined && !(caller.libp2p && peer.libp2p !== undefined)) return false;
    if (taken.has(peer.address)) return false;
    taken.add(peer.address);
    chosen.push(peer);
    return true;
  };

  const listed = (peer: Candidate): ListedPeer | undefined => {
    if (!isMember(peer)) return candidates.isLeased(peer) ? peer.listed : undefined;
    if (caller.complete && peer.left === 0) return undefined;
    const agent = agentOf(peer.peerId, peer.ip);
    if (agent !== undefined) return agent.listed;
    // An agent whose lease has ended.
    return peer.leased || peer.expiresAt <= now ? undefined : peer.listed;
  };
  const use = (peer: Candidate): void => {
    if (seen.has(peer)) return;
    seen.add(peer);
    if (!take(listed(peer))) return;
    handOut(peer.handedOut, now);
    if (hasBegun(peer)) begun += 1;
    else advanced += 1;
  };
  const better = (a: Candidate, b: Candidate): Candidate => {
    if (seen.has(a)) return b;
    if (seen.has(b)) return a;
    if (hasBegun(a) !== hasBegun(b)) return hasBegun(a) === begun < advanced ? a : b;
    return handedOutNow(a.handedOut, now) <= handedOutNow(b.handedOut, now) ? a : b;
  };

  /** Takes from these until so many are chosen in all, or nobody is left that is found in bounded time. */
  const fill = (stretches: readonly Stretch[], until: number): void => {
    const size = stretches.reduce((sum, { from, to }) => sum + to - from, 0);
    const wanted = until - chosen.length;
    if (size === 0 || wanted <= 0) return;
    const at = (index: number): Candidate | undefined => {
      let rest = index;
      for (const stretch of stretches) {
        const length = stretch.to - stretch.from;
        if (rest < length) return stretch.at(stretch.from + rest);
        rest -= length;
      }
      return undefined;
    };
    const draw = (): Candidate | undefined => at(Math.floor(random() * size));
    for (let left = size > wanted ? wanted * DRAWS : 0; left > 0 && chosen.length < until; left -= 1) {
      const [a, b] = [draw(), draw()];
      if (a !== undefined && b !== undefined) use(better(a, b));
    }
    // Few are left, or draws met the same again and again.
    const start = Math.floor(random() * size);
    for (let step = 0; step < Math.min(size, wanted * DRAWS) && chosen.length < until; step += 1) {
      const next = at((start + step) % size);
      if (next !== undefined) use(next);
    }
  };

  const within = ({ from, to }: RankRange): Stretch[] => {
    const stretch = <T extends Candidate>(list: Holders<T>): Stretch => ({
      from: list.placeOfRank(from),
      to: list.placeOfRank(to),
      at: list.at,
    });
    return [stretch(members), ...(caller.complete ? [] : [stretch(holders)])];
  };
  const around = (outer: RankRange, inner: RankRange): Stretch[] => [
    ...within({ from: outer.from, to: inner.from }),
    ...within({ from: inner.to, to: outer.to }),
  ];

  const places = numwant - Math.min(seeds.length, Math.max(0, numwant - 1));
  const [own, ...wider] = caller.levels;
  const everything = wider.at(-1);
  if (own !== undefined && everything === undefined) fill(within(own), places);
  else if (own !== undefined && everything !== undefined) {
    const near = places - Math.ceil(places * FAR_SHARE);
    fill(within(own), near);
    let inner = own;
    for (const outer of wider.slice(0, -1)) {
      fill(around(outer, inner), near);
      inner = outer;
    }
    // From anywhere outside the zone, not only from what is around it.
    fill(around(everything, own), places);
    fill(within(everything), places);
  }
  for (const seed of seeds) {
    const { host, ip, libp2p } = seed;
    if (chosen.length < numwant) take(createListedPeer({ host, ip, port: plainPort(seed), libp2p }));
  }
  return chosen;
}

function isMember(peer: Candidate): peer is Member {
  return 'expiresAt' in peer;
}

/** It wants more than half of what it wanted when it came. */
function hasBegun(peer: Candidate): boolean {
  return isMember(peer) && peer.left * 2 > peer.leftAtFirst;
}

/** The two lists of a compact HTTP answer (BEP 23, BEP 7). */
export function packPeers(peers: readonly ListedPeer[]): { readonly v4: Buffer; readonly v6: Buffer } {
  const packed = peers.map((peer) => peer.packed());
  const ofSize = (size: number): Buffer =>
    Buffer.concat(packed.filter((entry): entry is Buffer => entry?.length === size));
  return { v4: ofSize(6), v6: ofSize(18) };
}

/** The list of an answer that is not compact (BEP 3). `libp2p`: the caller speaks it. */
export function describePeers(peers: readonly ListedPeer[], libp2p: boolean): Buffer {
  return Buffer.from(`l${peers.map((peer) => peer.described(libp2p)).join('')}e`, 'latin1');
}
