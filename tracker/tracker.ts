/** Wires the tracker's parts, and sweeps what has expired with the one timer that it has. */
import type { FastifyInstance } from 'fastify';
import type { Guard } from '#cluster';
import type { HostPort } from '#http';
import type { MemberAddress } from '#multiaddr';
import type { Logger, Metrics } from '#telemetry';
import { type InfoHash, parseInfoHash } from '#torrent';
import { type Admit, createAdmission } from './admission.ts';
import { registerAgents } from './agent-routes.ts';
import { type AgentLimits, type Agents, createAgents } from './agents.ts';
import { createAnnouncing } from './announce.ts';
import { type MayAnnounce, registerAnnounce } from './announce-http.ts';
import { listenUdp, type UdpListener } from './announce-udp.ts';
import { registerCopies } from './copies-route.ts';
import { createMembers, type MemberLimits } from './members.ts';
import { type IdentifyBlob, registerSwarms } from './swarm-routes.ts';
import { createSwarms, type Swarms } from './swarms.ts';
import { createZones } from './zones.ts';

export interface TrackerOptions {
  /** Says whether an origin holds a blob, and who seeds it for certain. */
  readonly admit: Admit;
  /** Whether who announces or scrapes with this passkey may know of the blob; by default everybody may. */
  readonly mayAnnounce?: MayAnnounce;
  /** Names a blob by its digest, or the digest by an infohash, for /api/v1/swarms. By default infohashes only. */
  readonly identify?: IdentifyBlob;
  /** Admission to a cluster: only its members have inventories here. By default everybody may. */
  readonly guard?: Guard | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** How long an agent is known after its last inventory or heartbeat: two heartbeats. Default 60 s. */
  readonly leaseMs?: number;
  /** How often expired leases and members are looked for. Default 5 s. */
  readonly sweepMs?: number;
  /** What may be kept in memory. */
  readonly limits?: Partial<AgentLimits & MemberLimits & { readonly inventoryBytesPerSecond: number }>;
  /** Milliseconds, steadily rising. By default the monotonic clock. */
  readonly now?: () => number;
}

export interface Tracker {
  /** Adds /announce, /scrape, /api/v1/agents and /api/v1/swarms to a listener that is not yet started. */
  register(app: FastifyInstance): void;
  /** Opens the UDP side; once at most. Rejects when the address cannot be bound. */
  listenUdp(listen: HostPort): Promise<HostPort>;
  /** Members that have or download this blob, as the tracker would give them to a member on this machine; the origin's own seeds are not among them. */
  peersOf(infoHash: InfoHash): readonly MemberAddress[];
  /** The blob is gone (or has just come): the origin is asked again at the next announce. */
  forget(infoHash: InfoHash): void;
  /** Agents with a lease, blobs that they hold and holdings in all, and members that announced, for status pages. */
  stats(): {
    readonly agents: number;
    readonly members: number;
    readonly blobs: number;
    readonly held: number;
  };
  /** Swarms as people ask about them. */
  readonly swarms: Swarms;
  /** How many blobs each agent with a lease can seed, by its libp2p peer id. */
  holdings(): ReadonlyMap<string, number>;
  close(): Promise<void>;
}

const LEASE_MS = 60_000;
const SWEEP_MS = 5_000;
/** Some 60 bytes for a blob that one agent holds, 10 for each agent more; some 500 for a member. */
const LIMITS = {
  agents: 20_000,
  blobsPerAgent: 1_000_000,
  held: 20_000_000,
  perBlob: 10_000,
  total: 200_000,
  /** Some 400,000 blobs a second: ten thousand agents with a thousand each within half a minute. */
  inventoryBytesPerSecond: 16 * 1024 ** 2,
} as const;

/** The tracker's state and routes, without a listener of its own. */
export function createTracker(options: TrackerOptions): Tracker {
  const { log, metrics } = options;
  const now = options.now ?? (() => performance.timeOrigin + performance.now());
  const leaseMs = options.leaseMs ?? LEASE_MS;
  const mayAnnounce = options.mayAnnounce ?? (() => true);
  const identify =
    options.identify ??
    (async (text) => {
      const infoHash = parseInfoHash(text);
      return infoHash && { infoHash };
    });
  const limits = { ...LIMITS, ...options.limits };
  const zones = createZones();
  const members = createMembers({ limits, zones, now });
  const agents: Agents = createAgents({
    leaseMs,
    limits,
    zones,
    now,
    // Known by its inventory from now on: counted once.
    onHold: ({ ip, peerId }, infoHash) => members.remove(infoHash, ip, peerId),
    onGone: ({ ip, peerId }) => members.removeAgent(ip, peerId),
  });
  const swarms = createSwarms({ agents, members, now });
  const admission = createAdmission({ admit: options.admit, now });
  const announcing = createAnnouncing({ admission, agents, members, zones, now, log, metrics });
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
      registerAgents(app, agents, {
        ...{ leaseMs, now, guard: options.guard },
        inventoryBytesPerSecond: limits.inventoryBytesPerSecond,
      });
      registerCopies(app, agents, { zones, guard: options.guard });
      registerSwarms(app, swarms, identify);
    },
    async listenUdp(listen) {
      if (udp !== undefined) throw new Error('the UDP tracker listens already');
      udp = listenUdp(listen, { announcing, mayAnnounce, now, log });
      return (await udp).address;
    },
    peersOf: announcing.peersOf,
    forget: admission.forget,
    stats: () => ({ agents: agents.size, members: members.size, ...agents.counts() }),
    swarms,
    holdings() {
      const held = new Map<string, number>();
      for (const { libp2p, blobs } of agents.list()) if (libp2p !== undefined) held.set(libp2p.peerId, blobs);
      return held;
    },
    async close() {
      clearInterval(timer);
      const listener = await udp?.catch(() => undefined);
      udp = undefined;
      await listener?.close();
    },
  };
}
