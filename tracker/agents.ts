/**
 * The agents that this tracker knows: where each is reached, and which blobs it can seed. An agent
 * holds a lease that its heartbeat renews; when the lease ends it is as if it had said goodbye.
 *
 * Who holds what is kept twice, as numbers: the blobs of an agent, so that its death visits its own
 * blobs and no other, and the agents of a blob, sorted by zone, so that a choice of peers reads
 * only what it names. See docs/decisions/0050-inventories-at-scale.md.
 *
 * An inventory may name blobs that no origin of ours knows. Checking 100,000 of them at each start
 * of an agent would cost more than they do: they are kept, bounded, and never given to anybody,
 * because an announce for them is refused.
 */
import type { Libp2pAddress } from '#multiaddr';
import type { InfoHash } from '#torrent';
import { type BlobIds, createBlobIds } from './blob-ids.ts';
import type { HandedOut } from './handed-out.ts';
import { packAddress } from './ip.ts';
import { createListedPeer, type ListedPeer, UNREACHABLE_PORT } from './listed-peer.ts';
import { createZonedLists, lengthOf, slotAt, type ZonedList } from './zoned-list.ts';
import type { Zones } from './zones.ts';

/** What an agent says of itself. Without a port and libp2p it only dials, and is given to nobody. */
export interface AgentSelf {
  /** Where it speaks plain TCP. */
  readonly port?: number | undefined;
  readonly libp2p?: Libp2pAddress | undefined;
  readonly host?: string | undefined;
  readonly zone?: string | undefined;
}

export interface AgentRecord extends AgentSelf {
  /** 40 hex digits. */
  readonly peerId: string;
  /** Where the inventory came from; only the same address may change it. */
  readonly ip: string;
  readonly blobs: number;
  /** Milliseconds since the epoch. */
  readonly lastSeenAt: number;
  readonly handedOut: HandedOut;
  /** As others are told of it. */
  readonly listed: ListedPeer;
}

/**
 * `unknown`: no lease; `foreign`: another address holds the lease; `full`: a limit of this tracker;
 * `gap`: a change before this one did not arrive.
 */
export type AgentRefusal = 'unknown' | 'foreign' | 'full' | 'gap';

export interface AgentLimits {
  readonly agents: number;
  readonly blobsPerAgent: number;
  /** Blobs held, summed over all agents. */
  readonly held: number;
}

/** Those who have something of a blob, sorted by the rank of their zone. */
export interface Holders<T> {
  readonly size: number;
  at(place: number): T | undefined;
  /** The first place whose zone has this rank or a higher one. */
  placeOfRank(rank: number): number;
}

/** What changed since the inventory with the number before this one. */
export interface InventoryChange {
  /** Undefined: the agent does not number its changes. */
  readonly sequence?: number | undefined;
  readonly add: readonly InfoHash[];
  readonly remove: readonly InfoHash[];
}

export interface Agents {
  /** Sets the whole inventory and begins a lease; changes are numbered from `sequence` on. */
  put(
    peerId: string,
    ip: string,
    self: AgentSelf,
    blobs: readonly InfoHash[],
    sequence?: number,
  ): Exclude<AgentRefusal, 'unknown'> | 'done';
  /** Changes the inventory and renews the lease. The same number again changes nothing. */
  patch(peerId: string, ip: string, change: InventoryChange): AgentRefusal | 'done';
  delete(peerId: string, ip: string): Exclude<AgentRefusal, 'full' | 'gap'> | 'done';
  /** The agent that announces from this address, when it has a lease. Changes nothing. */
  find(peerId: string, ip: string): AgentRecord | undefined;
  /** Agents that can seed this blob; who is among them without a lease is going. */
  holders(infoHash: InfoHash): Holders<AgentRecord>;
  holds(agent: AgentRecord, infoHash: InfoHash): boolean;
  /** Whether its lease lasts. */
  isLeased(agent: AgentRecord): boolean;
  list(): Iterable<AgentRecord>;
  readonly size: number;
  /** Blobs held, summed over all agents, and blobs that somebody holds. */
  counts(): { readonly held: number; readonly blobs: number };
  /** Forgets the agents whose lease has ended. */
  sweep(): void;
}

interface Known extends AgentRecord {
  self: AgentSelf;
  listed: ListedPeer;
  readonly slot: number;
  /** The zone's number; holdings are sorted by it. */
  zoneId: number;
  /** Numbers of the blobs that it holds, the first `held` of these. */
  holdings: Uint32Array;
  held: number;
  sequence: number | undefined;
  lastSeenAt: number;
}

const NOBODY: Holders<AgentRecord> = { size: 0, at: () => undefined, placeOfRank: () => 0 };
const FIRST_HOLDINGS = 8;
/** Removals one by one look through the list each time; more are done in one pass. */
const FEW_REMOVALS = 8;

export function createAgents(options: {
  readonly leaseMs: number;
  readonly limits: AgentLimits;
  readonly zones: Zones;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** An agent holds this blob from now on. */
  readonly onHold: (agent: AgentRecord, infoHash: InfoHash) => void;
  /** It said goodbye, its lease ended, or another took its place. */
  readonly onGone: (agent: AgentRecord) => void;
}): Agents {
  const { limits, now, leaseMs, zones } = options;
  /** The oldest lease first. */
  const agents = new Map<string, Known>();
  const bySlot: (Known | undefined)[] = [];
  const freeSlots: number[] = [];
  /** Who was last reached at an address, and with a key: an agent that starts again takes its own place. */
  const byPlace = new Map<string, Known>();
  const ids: BlobIds = createBlobIds();
  /** Slots of the agents that hold a blob, by the blob's number. */
  const holders: (ZonedList | undefined)[] = [];
  const lists = createZonedLists((slot) => zones.rank(bySlot[slot]?.zoneId ?? 0));
  let held = 0;

  const hold = (agent: Known, infoHash: InfoHash): void => {
    const id = ids.intern(infoHash);
    const before = holders[id];
    const size = lengthOf(before);
    const after = lists.add(before, agent.slot);
    holders[id] = after;
    if (lengthOf(after) === size) return;
    if (agent.held === agent.holdings.length) {
      const more = new Uint32Array(Math.max(FIRST_HOLDINGS, Math.ceil(agent.held * 1.5)));
      more.set(agent.holdings);
      agent.holdings = more;
    }
    agent.holdings[agent.held] = id;
    agent.held += 1;
    held += 1;
    options.onHold(agent, infoHash);
  };
  /** Takes the agent from the list of the blob; the blob stays in the list of the agent. */
  const leave = (agent: Known, id: number): void => {
    const list = holders[id];
    if (list === undefined) return;
    const after = lists.remove(list, agent.slot);
    holders[id] = after;
    if (after === undefined) ids.release(id);
    held -= 1;
  };
  const forget = (agent: Known): void => {
    agents.delete(agent.peerId);
    for (let index = 0; index < agent.held; index += 1) leave(agent, agent.holdings[index] ?? 0);
    agent.held = 0;
    for (const place of placesOf(agent)) if (byPlace.get(place) === agent) byPlace.delete(place);
    zones.release(agent.zoneId);
    bySlot[agent.slot] = undefined;
    freeSlots.push(agent.slot);
    options.onGone(agent);
  };
  /** Keeps the holdings whose number passes. */
  const keepOnly = (agent: Known, stays: (id: number) => boolean): void => {
    let kept = 0;
    for (let index = 0; index < agent.held; index += 1) {
      const id = agent.holdings[index] ?? 0;
      if (stays(id)) agent.holdings[kept++] = id;
      else leave(agent, id);
    }
    agent.held = kept;
  };
  const drop = (agent: Known, gone: ReadonlySet<number>): void => {
    if (gone.size > FEW_REMOVALS) {
      keepOnly(agent, (id) => !gone.has(id));
      return;
    }
    for (const id of gone) {
      const index = agent.holdings.subarray(0, agent.held).indexOf(id);
      if (index === -1) continue;
      agent.held -= 1;
      agent.holdings[index] = agent.holdings[agent.held] ?? 0;
      leave(agent, id);
    }
  };
  const leased = (agent: AgentRecord): boolean => now() - agent.lastSeenAt < leaseMs;

  /** The agent of this peer id while its lease lasts. */
  const current = (peerId: string): Known | undefined => {
    const agent = agents.get(peerId);
    if (agent === undefined || leased(agent)) return agent;
    forget(agent);
    return undefined;
  };

  /** An agent that was killed and started again has another peer id at the same address, and the same key. */
  const supersede = (agent: Known): void => {
    for (const place of placesOf(agent)) {
      const before = byPlace.get(place);
      if (before !== undefined && before !== agent) forget(before);
      byPlace.set(place, agent);
    }
  };

  const enter = (peerId: string, ip: string): Known => {
    const slot = freeSlots.pop() ?? bySlot.length;
    const agent = createKnown({ peerId, ip, slot, zoneId: zones.take(undefined), lastSeenAt: now() });
    bySlot[slot] = agent;
    return agent;
  };

  /** Lists are sorted by zone: who moves leaves them first. */
  const describe = (agent: Known, self: AgentSelf): void => {
    if (agent.self.zone !== self.zone) {
      keepOnly(agent, () => false);
      zones.release(agent.zoneId);
      agent.zoneId = zones.take(self.zone);
    }
    for (const place of placesOf(agent)) if (byPlace.get(place) === agent) byPlace.delete(place);
    agent.self = self;
    agent.listed = listedAs(agent.peerId, agent.ip, self);
    supersede(agent);
  };

  const renew = (agent: Known): void => {
    agent.lastSeenAt = now();
    agents.delete(agent.peerId);
    agents.set(agent.peerId, agent);
  };

  return {
    put(peerId, ip, self, blobs, sequence) {
      const before = current(peerId);
      if (before !== undefined && before.ip !== ip) return 'foreign';
      // It was under way longer than one that was sent after it.
      if (sequence !== undefined && sequence < (before?.sequence ?? 0)) return 'gap';
      if (before === undefined && agents.size >= limits.agents && !takesAPlace(byPlace, ip, self)) {
        return 'full';
      }
      const others = held - (before?.held ?? 0);
      if (blobs.length > limits.blobsPerAgent || others + blobs.length > limits.held) return 'full';
      const agent = before ?? enter(peerId, ip);
      describe(agent, self);
      agent.sequence = sequence;
      renew(agent);
      if (agent.held > 0) {
        const wanted = new Set(blobs.map((infoHash) => ids.find(infoHash)));
        keepOnly(agent, (id) => wanted.has(id));
      }
      for (const infoHash of blobs) hold(agent, infoHash);
      return 'done';
    },
    patch(peerId, ip, change) {
      const agent = current(peerId);
      if (agent === undefined) return 'unknown';
      if (agent.ip !== ip) return 'foreign';
      const { sequence } = change;
      // Its answer was lost: the agent says it again.
      const again = sequence !== undefined && sequence === agent.sequence;
      if (!again && sequence !== undefined && sequence !== (agent.sequence ?? -1) + 1) return 'gap';
      if (again) {
        renew(agent);
        return 'done';
      }
      const removed = new Set<number>();
      for (const infoHash of change.remove) {
        const id = ids.find(infoHash);
        if (id !== undefined && lists.has(holders[id], agent.slot)) removed.add(id);
      }
      const more = change.add.length - removed.size;
      if (agent.held + more > limits.blobsPerAgent || held + more > limits.held) return 'full';
      agent.sequence = sequence;
      renew(agent);
      if (removed.size > 0) drop(agent, removed);
      for (const infoHash of change.add) hold(agent, infoHash);
      return 'done';
    },
    delete(peerId, ip) {
      const agent = current(peerId);
      if (agent === undefined) return 'unknown';
      if (agent.ip !== ip) return 'foreign';
      forget(agent);
      return 'done';
    },
    find(peerId, ip) {
      const agent = agents.get(peerId);
      return agent !== undefined && agent.ip === ip && leased(agent) ? agent : undefined;
    },
    holders(infoHash) {
      const id = ids.find(infoHash);
      const list = id === undefined ? undefined : holders[id];
      if (list === undefined) return NOBODY;
      return {
        size: lengthOf(list),
        at: (place) => bySlot[slotAt(list, place)],
        placeOfRank: (rank) => lists.placeOfRank(list, rank),
      };
    },
    holds(agent, infoHash) {
      const id = ids.find(infoHash);
      const known = agents.get(agent.peerId);
      return id !== undefined && known === agent && lists.has(holders[id], known.slot);
    },
    isLeased: leased,
    *list() {
      for (const agent of agents.values()) if (leased(agent)) yield agent;
    },
    get size() {
      return agents.size;
    },
    counts: () => ({ held, blobs: ids.size }),
    sweep() {
      for (const agent of agents.values()) {
        if (leased(agent)) return;
        forget(agent);
      }
    },
  };
}

/** What only one agent can have at a time: a listener, and a key. */
function placesOf({ ip, self }: { readonly ip: string; readonly self: AgentSelf }): string[] {
  const places: string[] = [];
  if (self.port !== undefined) places.push(`${ip} ${self.host ?? ''} ${self.port}`);
  if (self.libp2p !== undefined) places.push(`${ip} ${self.libp2p.peerId}`);
  return places;
}

/** Whether somebody goes when this agent comes. */
function takesAPlace(byPlace: ReadonlyMap<string, AgentRecord>, ip: string, self: AgentSelf): boolean {
  return placesOf({ ip, self }).some((place) => byPlace.has(place));
}

function listedAs(peerId: string, ip: string, { host, port, libp2p, zone }: AgentSelf): ListedPeer {
  // A compact answer has no room for a name: the address that the agent spoke from stands in for it.
  const packable = host !== undefined && packAddress(host, UNREACHABLE_PORT) !== undefined;
  return createListedPeer({
    ...{ host: host ?? ip, ip: packable ? host : ip, port, libp2p, peerId, zone },
  });
}

function createKnown(given: Pick<Known, 'peerId' | 'ip' | 'slot' | 'zoneId' | 'lastSeenAt'>): Known {
  return {
    ...given,
    self: {},
    listed: listedAs(given.peerId, given.ip, {}),
    holdings: new Uint32Array(0),
    held: 0,
    sequence: undefined,
    handedOut: { count: 0, at: 0 },
    get port() {
      return this.self.port;
    },
    get libp2p() {
      return this.self.libp2p;
    },
    get host() {
      return this.self.host;
    },
    get zone() {
      return this.self.zone;
    },
    get blobs() {
      return this.held;
    },
  };
}
