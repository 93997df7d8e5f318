/**
 * A blob's swarm as people ask about it: who has what, how fast it comes, how many copies each zone
 * has, and who is slow. Made from what agents and members told last, up to half a minute ago, when
 * it is asked for; nothing is kept for it.
 */
import { formatHostPort } from '#http';
import { formatMultiaddr } from '#multiaddr';
import type { InfoHash } from '#torrent';
import type { AgentRecord, Agents } from './agents.ts';
import { UNREACHABLE_PORT } from './listed-peer.ts';
import type { Member, Members } from './members.ts';

interface SwarmSummary {
  readonly infoHash: InfoHash;
  /** Members and agents that have all of it; the origin's own seeds are not counted. */
  readonly copies: number;
  readonly downloading: number;
}

interface SwarmZone {
  /** Null: members that told none. */
  readonly zone: string | null;
  readonly copies: number;
  readonly downloading: number;
}

interface SwarmMember {
  readonly peerId: string;
  readonly address: string | null;
  readonly peer: string | null;
  readonly zone: string | null;
  /** From 0 to 1, of what it wanted when it came. */
  readonly progress: number;
  /** Bytes that it still wants. */
  readonly left: number;
  /** Between its last two announces; null before the second. */
  readonly bytesPerSecond: number | null;
  /** It gets less than half of what the median of those who download gets. */
  readonly slow: boolean;
  readonly lastSeenSeconds: number;
}

interface SwarmView extends SwarmSummary {
  readonly zones: readonly SwarmZone[];
  /** Of those who download and have announced twice. */
  readonly medianBytesPerSecond: number | null;
  /** Those who download first. */
  readonly members: readonly SwarmMember[];
}

export interface Swarms {
  /** Swarms that somebody announced lately, in the order of their infohash, behind `after`. */
  list(after: string, limit: number): readonly SwarmSummary[];
  summary(infoHash: InfoHash): SwarmSummary;
  /** `members` from `offset` on. */
  view(infoHash: InfoHash, offset: number, limit: number): SwarmView;
}

export function createSwarms(options: {
  readonly agents: Agents;
  readonly members: Members;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Swarms {
  const { agents, members, now } = options;

  const summary = (infoHash: InfoHash): SwarmSummary => {
    const { complete, incomplete } = members.count(infoHash);
    const copies = complete + agents.holders(infoHash).size;
    return { infoHash, copies, downloading: incomplete };
  };
  const secondsSince = (at: number): number => Math.max(0, Math.round((now() - at) / 1000));

  const ofMember = (member: Member, median: number | null): SwarmMember => {
    const { ip, port, libp2p, peerId, zone, left, leftAtFirst, bytesPerSecond } = member;
    const agent = agents.find(peerId, ip);
    const where = agent ?? { ip, port: port === UNREACHABLE_PORT ? undefined : port, libp2p };
    return {
      peerId,
      ...reachedAt(where),
      zone: zone ?? null,
      progress: left === 0 || leftAtFirst === 0 ? 1 : 1 - left / leftAtFirst,
      left,
      bytesPerSecond: bytesPerSecond ?? null,
      slow: left > 0 && median !== null && bytesPerSecond !== undefined && bytesPerSecond < median / 2,
      lastSeenSeconds: secondsSince(member.seenAt),
    };
  };
  const ofAgent = (agent: AgentRecord): SwarmMember => ({
    peerId: agent.peerId,
    ...reachedAt(agent),
    zone: agent.zone ?? null,
    ...{ progress: 1, left: 0, bytesPerSecond: null, slow: false },
    lastSeenSeconds: secondsSince(agent.lastSeenAt),
  });

  return {
    summary,
    list(after, limit) {
      const found: InfoHash[] = [];
      for (const infoHash of members.announced()) if (infoHash > after) found.push(infoHash);
      return found.sort().slice(0, limit).map(summary);
    },
    view(infoHash, offset, limit) {
      const announced = members.of(infoHash);
      const holders = agents.holders(infoHash);
      const zones = new Map<string | null, { copies: number; downloading: number }>();
      const rates: number[] = [];
      const downloading: Member[] = [];
      const complete: (Member | AgentRecord)[] = [];
      const count = (zone: string | undefined, has: boolean): void => {
        const counted = zones.get(zone ?? null) ?? { copies: 0, downloading: 0 };
        zones.set(zone ?? null, counted);
        if (has) counted.copies += 1;
        else counted.downloading += 1;
      };
      for (let place = 0; place < announced.size; place += 1) {
        const member = announced.at(place);
        if (member === undefined) continue;
        count(member.zone, member.left === 0);
        (member.left === 0 ? complete : downloading).push(member);
        if (member.left > 0 && member.bytesPerSecond !== undefined) rates.push(member.bytesPerSecond);
      }
      for (let place = 0; place < holders.size; place += 1) {
        const agent = holders.at(place);
        if (agent === undefined) continue;
        count(agent.zone, true);
        complete.push(agent);
      }
      rates.sort((a, b) => a - b);
      const median = rates[rates.length >> 1] ?? null;
      const page = [...downloading, ...complete].slice(offset, offset + limit);
      return {
        ...summary(infoHash),
        zones: Array.from(zones, ([zone, counted]) => ({ zone, ...counted })).sort((a, b) =>
          (a.zone ?? '') < (b.zone ?? '') ? -1 : 1,
        ),
        medianBytesPerSecond: median,
        members: page.map((one) => ('expiresAt' in one ? ofMember(one, median) : ofAgent(one))),
      };
    },
  };
}

function reachedAt(one: Pick<AgentRecord, 'host' | 'ip' | 'port' | 'libp2p'>): {
  readonly address: string | null;
  readonly peer: string | null;
} {
  const host = one.host ?? one.ip;
  return {
    address: one.port === undefined ? null : formatHostPort({ host, port: one.port }),
    peer: one.libp2p === undefined ? null : formatMultiaddr({ host, ...one.libp2p }),
  };
}
