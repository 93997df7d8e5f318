/**
 * Members that announced themselves (BEP 3): clients that download a blob, and foreign clients that
 * seed one. Bounded per blob and in all; who does not announce again is forgotten.
 */
import type { Libp2pAddress } from '#multiaddr';
import type { InfoHash } from '#torrent';
import type { Holders } from './agents.ts';
import type { HandedOut } from './handed-out.ts';
import { createListedPeer, type ListedPeer, UNREACHABLE_PORT } from './listed-peer.ts';
import { createZonedLists, lengthOf, slotAt, type ZonedList } from './zoned-list.ts';
import type { Zones } from './zones.ts';

export interface Announced {
  readonly ip: string;
  readonly port: number;
  /** Where it is reached by libp2p, when it said so. */
  readonly libp2p?: Libp2pAddress | undefined;
  readonly peerId: string;
  /** Its zone, as its inventory says. */
  readonly zone?: string | undefined;
  /** Bytes that it still wants; 0: it has the blob. */
  readonly left: number;
  /** It is an agent, and is forgotten with its lease. */
  readonly leased: boolean;
  readonly expiresAt: number;
}

export interface Member extends Announced {
  /** Bytes that it wanted when it came. */
  readonly leftAtFirst: number;
  /** Between its last two announces that said something new. */
  readonly bytesPerSecond?: number | undefined;
  /** Milliseconds since the epoch, of its last announce. */
  readonly seenAt: number;
  readonly handedOut: HandedOut;
  /** As others are told of it, when it is no agent. */
  readonly listed: ListedPeer;
}

export interface MemberLimits {
  readonly perBlob: number;
  readonly total: number;
}

export interface Members {
  /** Records an announce. At the limit of a blob the member that was silent longest makes room. */
  set(infoHash: InfoHash, member: Announced): void;
  remove(infoHash: InfoHash, ip: string, peerId: string): void;
  /** Takes an agent out of every blob that it announced. */
  removeAgent(ip: string, peerId: string): void;
  /** Who has expired is among them until the next sweep. */
  of(infoHash: InfoHash): Holders<Member>;
  count(infoHash: InfoHash): { readonly complete: number; readonly incomplete: number };
  /** Blobs that have members. */
  announced(): Iterable<InfoHash>;
  /** Members in all. */
  readonly size: number;
  sweep(): void;
}

interface Kept extends Member {
  readonly key: string;
  readonly slot: number;
  readonly zoneId: number;
}

interface Swarm {
  /** By address and peer id, in the order of their last announce. */
  readonly members: Map<string, Kept>;
  /** Their slots by zone. */
  list: ZonedList | undefined;
  complete: number;
}

const NOBODY: Holders<Member> = { size: 0, at: () => undefined, placeOfRank: () => 0 };

/** Address and peer id: one member, whatever port it announces. */
function keyOf(ip: string, peerId: string): string {
  return `${peerId}@${ip}`;
}

/** Announces that follow at once (a retry) say nothing of the pace. */
const SOON_MS = 500;

function paceOf(before: Member, left: number, now: number): number | undefined {
  const ms = now - before.seenAt;
  if (ms < SOON_MS || left > before.left) return before.bytesPerSecond;
  return Math.round(((before.left - left) / ms) * 1000);
}

function listedAs({ ip, port, libp2p, peerId }: Announced): ListedPeer {
  return createListedPeer({
    host: ip,
    ip,
    port: port === UNREACHABLE_PORT ? undefined : port,
    libp2p,
    peerId,
  });
}

function sameLibp2p(a: Libp2pAddress | undefined, b: Libp2pAddress | undefined): boolean {
  return a?.port === b?.port && a?.peerId === b?.peerId;
}

export function createMembers(options: {
  readonly limits: MemberLimits;
  readonly zones: Zones;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Members {
  const { limits, now, zones } = options;
  const swarms = new Map<InfoHash, Swarm>();
  /** What each agent announced. */
  const ofAgent = new Map<string, Set<InfoHash>>();
  const bySlot: (Kept | undefined)[] = [];
  const freeSlots: number[] = [];
  const lists = createZonedLists((slot) => zones.rank(bySlot[slot]?.zoneId ?? 0));
  let size = 0;

  const take = (infoHash: InfoHash, key: string): Kept | undefined => {
    const swarm = swarms.get(infoHash);
    const member = swarm?.members.get(key);
    if (swarm === undefined || member === undefined) return undefined;
    swarm.members.delete(key);
    if (swarm.list !== undefined) swarm.list = lists.remove(swarm.list, member.slot);
    if (member.left === 0) swarm.complete -= 1;
    if (swarm.members.size === 0) swarms.delete(infoHash);
    zones.release(member.zoneId);
    bySlot[member.slot] = undefined;
    freeSlots.push(member.slot);
    size -= 1;
    const announced = ofAgent.get(key);
    if (announced?.delete(infoHash) && announced.size === 0) ofAgent.delete(key);
    return member;
  };

  const makeRoom = (infoHash: InfoHash): void => {
    const crowd = swarms.get(infoHash);
    if (crowd === undefined || crowd.members.size < limits.perBlob) return;
    const [oldest] = crowd.members.keys();
    if (oldest !== undefined) take(infoHash, oldest);
  };

  return {
    set(infoHash, announced) {
      const key = keyOf(announced.ip, announced.peerId);
      const before = swarms.get(infoHash)?.members.get(key);
      // Most announce again: the member stays where it is in the list.
      const stays =
        before !== undefined && before.zone === announced.zone && before.leased === announced.leased;
      if (before !== undefined && !stays) take(infoHash, key);
      if (!stays) makeRoom(infoHash);
      if (!stays && size >= limits.total) return;
      const slot = stays ? before.slot : (freeSlots.pop() ?? bySlot.length);
      const same = before?.port === announced.port && sameLibp2p(before.libp2p, announced.libp2p);
      const member: Kept = {
        ...announced,
        key,
        slot,
        zoneId: stays ? before.zoneId : zones.take(announced.zone),
        leftAtFirst: Math.max(before?.leftAtFirst ?? 0, announced.left),
        bytesPerSecond: before && paceOf(before, announced.left, now()),
        seenAt: now(),
        handedOut: before?.handedOut ?? { count: 0, at: 0 },
        listed: before !== undefined && same ? before.listed : listedAs(announced),
      };
      bySlot[slot] = member;
      const swarm = swarms.get(infoHash) ?? { members: new Map(), list: undefined, complete: 0 };
      swarms.set(infoHash, swarm);
      // Behind all others: the order is that of the last announces.
      swarm.members.delete(key);
      swarm.members.set(key, member);
      swarm.complete += (member.left === 0 ? 1 : 0) - (stays && before.left === 0 ? 1 : 0);
      if (stays) return;
      swarm.list = lists.add(swarm.list, slot);
      size += 1;
      if (!member.leased) return;
      const blobs = ofAgent.get(key) ?? new Set();
      ofAgent.set(key, blobs.add(infoHash));
    },
    remove(infoHash, ip, peerId) {
      // Most blobs have no swarm, and every blob of an inventory comes by here.
      if (swarms.has(infoHash)) take(infoHash, keyOf(ip, peerId));
    },
    removeAgent(ip, peerId) {
      const key = keyOf(ip, peerId);
      for (const infoHash of ofAgent.get(key) ?? []) take(infoHash, key);
    },
    of(infoHash) {
      const swarm = swarms.get(infoHash);
      if (swarm === undefined) return NOBODY;
      const { list } = swarm;
      return {
        size: lengthOf(list),
        at: (place) => bySlot[slotAt(list, place)],
        placeOfRank: (rank) => lists.placeOfRank(list, rank),
      };
    },
    announced: () => swarms.keys(),
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
        for (const member of swarm.members.values()) {
          if (member.expiresAt <= now()) take(infoHash, member.key);
        }
      }
    },
  };
}
