/**
 * The agents that this tracker knows: where each is reached, and which blobs it can seed. An agent
 * holds a lease that its heartbeat renews; when the lease ends it is as if it had said goodbye.
 *
 * An inventory may name blobs that no origin of ours knows. Checking 100,000 of them at each start
 * of an agent would cost more than they do: they are kept, bounded, and never given to anybody,
 * because an announce for them is refused.
 */
import type { Libp2pAddress } from '#multiaddr';
import type { InfoHash } from '#torrent';

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
}

/** `unknown`: no lease; `foreign`: another address holds the lease; `full`: a limit of this tracker. */
export type AgentRefusal = 'unknown' | 'foreign' | 'full';

export interface AgentLimits {
  readonly agents: number;
  readonly blobsPerAgent: number;
  /** Blobs held, summed over all agents. */
  readonly held: number;
}

export interface Agents {
  /** Sets the whole inventory and begins a lease. */
  put(
    peerId: string,
    ip: string,
    self: AgentSelf,
    blobs: readonly InfoHash[],
  ): Exclude<AgentRefusal, 'unknown'> | 'done';
  /** Changes the inventory and renews the lease. */
  patch(
    peerId: string,
    ip: string,
    change: { readonly add: readonly InfoHash[]; readonly remove: readonly InfoHash[] },
  ): AgentRefusal | 'done';
  delete(peerId: string, ip: string): Exclude<AgentRefusal, 'full'> | 'done';
  /** The agent that announces from this address, when it has a lease. */
  find(peerId: string, ip: string): AgentRecord | undefined;
  /** Agents that can seed this blob; a lease that has ended counts until the next sweep. */
  holders(infoHash: InfoHash): ReadonlySet<AgentRecord>;
  list(): Iterable<AgentRecord>;
  readonly size: number;
  /** Forgets the agents whose lease has ended. */
  sweep(): void;
}

/** The one copy of a blob's name, shared by every agent that holds it. */
interface Holding {
  readonly infoHash: InfoHash;
  readonly agents: Set<Known>;
}

interface Known extends AgentRecord {
  self: AgentSelf;
  readonly holdings: Set<Holding>;
  lastSeenAt: number;
}

const NOBODY: ReadonlySet<AgentRecord> = new Set();

export function createAgents(options: {
  readonly leaseMs: number;
  readonly limits: AgentLimits;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** An agent holds this blob from now on. */
  readonly onHold: (agent: AgentRecord, infoHash: InfoHash) => void;
}): Agents {
  const { limits, now, leaseMs } = options;
  const agents = new Map<string, Known>();
  const holdings = new Map<InfoHash, Holding>();
  let held = 0;

  const hold = (agent: Known, infoHash: InfoHash): void => {
    let holding = holdings.get(infoHash);
    if (holding === undefined) {
      holding = { infoHash, agents: new Set() };
      holdings.set(infoHash, holding);
    }
    if (holding.agents.has(agent)) return;
    holding.agents.add(agent);
    agent.holdings.add(holding);
    held += 1;
    options.onHold(agent, infoHash);
  };
  const release = (agent: Known, holding: Holding): void => {
    if (!agent.holdings.delete(holding)) return;
    holding.agents.delete(agent);
    if (holding.agents.size === 0) holdings.delete(holding.infoHash);
    held -= 1;
  };
  const forget = (agent: Known): void => {
    agents.delete(agent.peerId);
    for (const holding of agent.holdings) release(agent, holding);
  };
  const leased = (agent: Known): boolean => now() - agent.lastSeenAt < leaseMs;

  /** The agent of this peer id while its lease lasts. */
  const current = (peerId: string): Known | undefined => {
    const agent = agents.get(peerId);
    if (agent === undefined || leased(agent)) return agent;
    forget(agent);
    return undefined;
  };

  /** An agent that was killed and started again has another peer id at the same address, and the same key. */
  const supersede = (ip: string, self: AgentSelf): void => {
    const key = self.libp2p?.peerId;
    for (const other of agents.values()) {
      if (other.ip !== ip) continue;
      const sameAddress = self.port !== undefined && other.port === self.port && other.host === self.host;
      if (sameAddress || (key !== undefined && other.libp2p?.peerId === key)) forget(other);
    }
  };

  return {
    put(peerId, ip, self, blobs) {
      const before = current(peerId);
      if (before !== undefined && before.ip !== ip) return 'foreign';
      if (before === undefined) supersede(ip, self);
      const others = held - (before?.holdings.size ?? 0);
      if (before === undefined && agents.size >= limits.agents) return 'full';
      if (blobs.length > limits.blobsPerAgent || others + blobs.length > limits.held) return 'full';
      const agent = before ?? createKnown(peerId, ip, self, now());
      agent.self = self;
      agent.lastSeenAt = now();
      const wanted = new Set(blobs);
      for (const holding of agent.holdings) if (!wanted.has(holding.infoHash)) release(agent, holding);
      // Oldest lease first, so that a sweep may stop early.
      agents.delete(peerId);
      agents.set(peerId, agent);
      for (const infoHash of wanted) hold(agent, infoHash);
      return 'done';
    },
    patch(peerId, ip, change) {
      const agent = current(peerId);
      if (agent === undefined) return 'unknown';
      if (agent.ip !== ip) return 'foreign';
      const removed = new Set<Holding>();
      for (const infoHash of change.remove) {
        const holding = holdings.get(infoHash);
        if (holding?.agents.has(agent)) removed.add(holding);
      }
      const more = change.add.length - removed.size;
      if (agent.holdings.size + more > limits.blobsPerAgent || held + more > limits.held) return 'full';
      agent.lastSeenAt = now();
      agents.delete(peerId);
      agents.set(peerId, agent);
      for (const holding of removed) release(agent, holding);
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
      const agent = current(peerId);
      return agent?.ip === ip ? agent : undefined;
    },
    holders: (infoHash) => holdings.get(infoHash)?.agents ?? NOBODY,
    *list() {
      for (const agent of agents.values()) if (leased(agent)) yield agent;
    },
    get size() {
      return agents.size;
    },
    sweep() {
      for (const agent of agents.values()) {
        if (leased(agent)) return;
        forget(agent);
      }
    },
  };
}

function createKnown(peerId: string, ip: string, self: AgentSelf, lastSeenAt: number): Known {
  return {
    peerId,
    ip,
    self,
    holdings: new Set(),
    lastSeenAt,
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
      return this.holdings.size;
    },
  };
}
