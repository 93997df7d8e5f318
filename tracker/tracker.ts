/** Wires the tracker's parts, and sweeps what has expired with the one timer that it has. */
import type { FastifyInstance } from 'fastify';
import type { Guard } from '#cluster';
import type { HostPort } from '#http';
import type { MemberAddress } from '#multiaddr';
import type { Logger, Metrics } from '#telemetry';
import type { InfoHash } from '#torrent';
import { type Admit, createAdmission } from './admission.ts';
import { registerAgents } from './agent-routes.ts';
import { type AgentLimits, type Agents, createAgents } from './agents.ts';
import { createAnnouncing } from './announce.ts';
import { type MayAnnounce, registerAnnounce } from './announce-http.ts';
import { listenUdp, type UdpListener } from './announce-udp.ts';
import { createMembers, type MemberLimits, memberKey } from './members.ts';

export interface TrackerOptions {
  /** Says whether an origin holds a blob, and who seeds it for certain. */
  readonly admit: Admit;
  /** Whether who announces or scrapes with this passkey may know of the blob; by default everybody may. */
  readonly mayAnnounce?: MayAnnounce;
  /** Admission to a cluster: only its members have inventories here. By default everybody may. */
  readonly guard?: Guard | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** How long an agent is known after its last inventory or heartbeat. Default 90 s. */
  readonly leaseMs?: number;
  /** How often expired leases and members are looked for. Default 5 s. */
  readonly sweepMs?: number;
  /** What may be kept in memory. */
  readonly limits?: Partial<AgentLimits & MemberLimits>;
  /** Milliseconds, steadily rising. By default the monotonic clock. */
  readonly now?: () => number;
}

export interface Tracker {
  /** Adds /announce, /scrape and /api/v1/agents to a listener that is not yet started. */
  register(app: FastifyInstance): void;
  /** Opens the UDP side; once at most. Rejects when the address cannot be bound. */
  listenUdp(listen: HostPort): Promise<HostPort>;
  /** Members that have or download this blob, as the tracker would give them to a member on this machine; the origin's own seeds are not among them. */
  peersOf(infoHash: InfoHash): readonly MemberAddress[];
  /** The blob is gone (or has just come): the origin is asked again at the next announce. */
  forget(infoHash: InfoHash): void;
  /** Agents with a lease, and members that announced, for status pages. */
  stats(): { readonly agents: number; readonly members: number };
  close(): Promise<void>;
}

const LEASE_MS = 90_000;
const SWEEP_MS = 5_000;
/** Some 300 bytes for a blob that one agent holds, 50 for each agent more; some 300 for a member. */
const LIMITS = {
  agents: 20_000,
  blobsPerAgent: 1_000_000,
  held: 10_000_000,
  perBlob: 10_000,
  total: 200_000,
} as const;

/** The tracker's state and routes, without a listener of its own. */
export function createTracker(options: TrackerOptions): Tracker {
  const { log, metrics } = options;
  const now = options.now ?? (() => performance.timeOrigin + performance.now());
  const leaseMs = options.leaseMs ?? LEASE_MS;
  const mayAnnounce = options.mayAnnounce ?? (() => true);
  const limits = { ...LIMITS, ...options.limits };
  const members = createMembers({
    limits,
    now,
    hasLease: (peerId, ip) => agents.find(peerId, ip) !== undefined,
  });
  const agents: Agents = createAgents({
    leaseMs,
    limits,
    now,
    // Known by its inventory from now on: counted once.
    onHold: (agent, infoHash) => members.remove(infoHash, memberKey(agent.ip, agent.peerId)),
  });
  const admission = createAdmission({ admit: options.admit, now });
  const announcing = createAnnouncing({ admission, agents, members, now, log, metrics });
  metrics.gauge({
    name: 'shoal_tracker_agents',
    help: 'Agents that have a lease',
    read: (gauge) => {
      agents.sweep();
      gauge.set(agents.size);
    },
  });
  const timer = setInterval(() => {
    agents.sweep();
    members.sweep();
  }, options.sweepMs ?? SWEEP_MS).unref();
  let udp: Promise<UdpListener> | undefined;

  return {
    register(app) {
      registerAnnounce(app, announcing, mayAnnounce);
      registerAgents(app, agents, { leaseMs, guard: options.guard });
    },
    async listenUdp(listen) {
      if (udp !== undefined) throw new Error('the UDP tracker listens already');
      udp = listenUdp(listen, { announcing, mayAnnounce, now, log });
      return (await udp).address;
    },
    peersOf: announcing.peersOf,
    forget: admission.forget,
    stats: () => ({ agents: agents.size, members: members.size }),
    async close() {
      clearInterval(timer);
      announcing.server.close();
      const listener = await udp?.catch(() => undefined);
      udp = undefined;
      await listener?.close();
    },
  };
}
