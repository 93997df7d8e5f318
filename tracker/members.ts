/**
 * Members that announced themselves (BEP 3): clients that download a blob, and foreign clients that
 * seed one. Bounded per blob and in all; who does not announce again is forgotten.
 */
import type { Libp2pAddress } from '#multiaddr';
import type { InfoHash } from '#torrent';

export interface Member {
  /** Address and peer id: one member, whatever port it announces. */
  readonly key: string;
  readonly ip: string;
  readonly port: number;
  /** Where it is reached by libp2p, when it said so. */
  readonly libp2p?: Libp2pAddress | undefined;
  readonly peerId: string;
  readonly complete: boolean;
  /** It is an agent, and is forgotten with its lease. */
  readonly leased: boolean;
  readonly expiresAt: number;
}

export interface MemberLimits {
  readonly perBlob: number;
  readonly total: number;
}

export interface Members {
  /** Records an announce. At the limit of a blob the member that was silent longest makes room. */
  set(infoHash: InfoHash, member: Member): void;
  remove(infoHash: InfoHash, key: string): void;
  /** Who has expired is among them until the next sweep. */
  of(infoHash: InfoHash): Iterable<Member>;
  count(infoHash: InfoHash): { readonly complete: number; readonly incomplete: number };
  /** Members in all. */
  readonly size: number;
  sweep(): void;
}

interface Swarm {
  /** In the order of their last announce. */
  readonly members: Map<string, Member>;
  complete: number;
}

/** libtorrent and others: a listen port that cannot be dialled is announced as 1. */
export const UNREACHABLE_PORT = 1;

export function memberKey(ip: string, peerId: string): string {
  return `${peerId}@${ip}`;
}

export function createMembers(options: {
  readonly limits: MemberLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly hasLease: (peerId: string, ip: string) => boolean;
}): Members {
  const { limits, now, hasLease } = options;
  const swarms = new Map<InfoHash, Swarm>();
  let size = 0;

  const remove = (infoHash: InfoHash, key: string): void => {
    const swarm = swarms.get(infoHash);
    const member = swarm?.members.get(key);
    if (swarm === undefined || member === undefined) return;
    swarm.members.delete(key);
    if (member.complete) swarm.complete -= 1;
    size -= 1;
    if (swarm.members.size === 0) swarms.delete(infoHash);
  };
  const gone = (member: Member): boolean =>
    member.expiresAt <= now() || (member.leased && !hasLease(member.peerId, member.ip));
  return {
    set(infoHash, member) {
      remove(infoHash, member.key);
      const before = swarms.get(infoHash);
      if (before !== undefined && before.members.size >= limits.perBlob) {
        const [oldest] = before.members.keys();
        if (oldest !== undefined) remove(infoHash, oldest);
      }
      if (size >= limits.total) return;
      const swarm = swarms.get(infoHash) ?? { members: new Map(), complete: 0 };
      swarms.set(infoHash, swarm);
      swarm.members.set(member.key, member);
      if (member.complete) swarm.complete += 1;
      size += 1;
    },
    remove,
    of: (infoHash) => swarms.get(infoHash)?.members.values() ?? [],
    count(infoHash) {
      const swarm = swarms.get(infoHash);
      return {
        complete: swarm?.complete ?? 0,
        incomplete: (swarm?.members.size ?? 0) - (swarm?.complete ?? 0),
      };
    },
    get size() {
      return size;
    },
    sweep() {
      for (const [infoHash, swarm] of swarms) {
        for (const member of swarm.members.values()) if (gone(member)) remove(infoHash, member.key);
      }
    },
  };
}
