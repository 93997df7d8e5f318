/** Runs one scenario: who is there, how they meet, what happens to them; and measures. */
import { rankMembers } from '../../src/swarm/ranking/index.ts';
import { createClock } from './clock.ts';
import { connect, createMember, leave } from './meeting.ts';
import { deliver } from './member.ts';
import { createLink, type Link } from './network.ts';
import { createRandom } from './random.ts';
import { createWorld, type Member } from './world.ts';

export interface Scenario {
  readonly name: string;
  readonly nodes: number;
  readonly bytesPerSecond: number;
  readonly blobBytes: number;
  readonly pieceBytes: number;
  readonly blockBytes: number;
  readonly latencyMs: number;
  readonly seed: number;
  /** A node dials others until it has so many peers, whoever dialled, as the engine does. */
  readonly dials: number;
  /** Nodes that the origin takes. */
  readonly originPeers: number;
  readonly slots: number;
  readonly turnBytes: number;
  readonly runBytes: number;
  readonly windowBytes: number;
  /** Rate of node `index` as a part of `bytesPerSecond`. */
  readonly part?: (index: number) => number;
  /** Nodes a rack; racks have up and down links of `perRack` × rate ÷ `oversubscription`. */
  readonly perRack?: number;
  readonly oversubscription?: number;
  /** Members know zones. */
  readonly zones?: boolean;
  /** Time between arrivals. */
  readonly arrivalMs?: number;
  /** This part of the nodes is killed when the median node has half of the blob. */
  readonly killed?: number;
  /** The bound, when it is not blob ÷ rate of a node, in ms. */
  readonly boundMs?: number;
  /** Only these nodes count for the time of the last. Default: all that live. */
  readonly counted?: (index: number) => boolean;
}

export interface Outcome {
  readonly scenario: Scenario;
  readonly boundMs: number;
  /** Milliseconds from arrival to completion of each counted node, ascending. */
  readonly times: readonly number[];
  readonly unfinished: number;
  readonly originBlobs: number;
  /** Blobs that went into a rack over its uplink: mean and most. */
  readonly rackMean: number | undefined;
  readonly rackMost: number | undefined;
  readonly wasted: number;
  readonly events: number;
  readonly wallMs: number;
}

interface Rack {
  readonly up: Link;
  readonly down: Link;
}

export function simulate(scenario: Scenario): Outcome {
  const began = performance.now();
  const random = createRandom(scenario.seed);
  const clock = createClock(scenario.latencyMs);
  const { nodes, perRack, bytesPerSecond, blobBytes } = scenario;
  const racks = createRacks(scenario);
  const boundMs = scenario.boundMs ?? (blobBytes / bytesPerSecond) * 1_000;
  const world = createWorld({
    ...scenario,
    clock,
    random,
    pieceCount: Math.ceil(blobBytes / scenario.pieceBytes),
    memberCount: nodes + 1,
    connectionCount: nodes * scenario.dials + scenario.originPeers,
    path: (from, to) => pathBetween(racks, perRack, from, to),
  });
  const zoneOf = (index: number): string | undefined =>
    scenario.zones === true && perRack !== undefined ? `dc/rack${Math.floor(index / perRack)}` : undefined;

  const origin = createMember(world, {
    zone: scenario.zones === true ? 'core' : undefined,
    up: createLink(bytesPerSecond),
    down: createLink(bytesPerSecond),
  });
  const members: Member[] = [];
  const zones = new Map<string, Member[]>();
  let originPeers = 0;

  function arrive(index: number): Member {
    const rate = bytesPerSecond * (scenario.part?.(index) ?? 1);
    const zone = zoneOf(index);
    const member = createMember(world, { zone, up: createLink(rate), down: createLink(rate) });
    members.push(member);
    if (zone === undefined) return member;
    const near = zones.get(zone);
    if (near === undefined) zones.set(zone, [member]);
    else near.push(member);
    return member;
  }

  /** As a tracker does: some random members, of whom the ranking chooses; and the zone's, when zones are known. */
  function meet(member: Member): void {
    const known: Member[] = [];
    const others = members.length - 1;
    if (others <= scenario.dials * 2) known.push(...members);
    else {
      for (let count = 0; count < scenario.dials * 2; count++) {
        const other = members[Math.floor(random() * members.length)];
        if (other !== undefined) known.push(other);
      }
      if (member.zone !== undefined) known.push(...(zones.get(member.zone) ?? []));
    }
    const addresses = [...new Set(known)]
      .filter((other) => other !== member && other.alive)
      .map((other) => ({
        host: other.name,
        port: 1,
        member: other,
        ...(other.zone === undefined ? {} : { zone: other.zone }),
      }));
    const ranked = rankMembers(addresses, { zone: member.zone, limit: scenario.dials, random });
    for (const { member: other } of ranked) {
      if (member.sides.length >= scenario.dials) break;
      connect(world, member, other);
    }
    if (originPeers >= scenario.originPeers) return;
    originPeers++;
    connect(world, member, origin);
  }

  const { arrivalMs } = scenario;
  if (arrivalMs === undefined) {
    for (let index = 0; index < nodes; index++) arrive(index);
    for (const index of shuffled(nodes, random)) {
      const member = members[index];
      if (member !== undefined) clock.call(random() * 50, () => meet(member));
    }
  } else {
    for (let index = 0; index < nodes; index++) clock.call(index * arrivalMs, () => meet(arrive(index)));
  }

  const { killed } = scenario;
  if (killed !== undefined) {
    const victims = shuffled(nodes, random).slice(0, Math.floor(nodes * killed));
    const watch = (): void => {
      const missing = members.map((member) => member.picker?.missing ?? 0).toSorted((a, b) => a - b);
      if ((missing[nodes >> 1] ?? 0) > world.pieceCount / 2) {
        clock.call(clock.now + 50, watch);
        return;
      }
      for (const victim of victims.map((index) => members[index])) {
        if (victim !== undefined) leave(world, victim);
      }
    };
    clock.call(0, watch);
  }

  const span = (arrivalMs ?? 0) * nodes;
  for (let end = 0; end < span + boundMs * 30; end += boundMs / 4) {
    clock.run(end, (kind, a, b) => deliver(world, kind, a, b));
    if (end > span && members.every((member) => !member.alive || member.doneAt !== undefined)) break;
  }

  const living = members.filter((member) => member.alive && (scenario.counted?.(member.id - 1) ?? true));
  const times = living
    .filter((member) => member.doneAt !== undefined)
    .map((member) => (member.doneAt ?? 0) - member.startedAt)
    .toSorted((a, b) => a - b);
  const into = racks.map((rack) => rack.down.bytes / blobBytes);
  return {
    scenario,
    boundMs,
    times,
    unfinished: living.length - times.length,
    originBlobs: origin.sentBytes / blobBytes,
    rackMean: racks.length === 0 ? undefined : into.reduce((sum, one) => sum + one, 0) / racks.length,
    rackMost: racks.length === 0 ? undefined : Math.max(...into),
    wasted: members.reduce((sum, member) => sum + member.wastedBytes, 0) / (blobBytes * nodes),
    events: clock.count,
    wallMs: performance.now() - began,
  };
}

function createRacks({ nodes, perRack, bytesPerSecond, oversubscription = 1 }: Scenario): Rack[] {
  if (perRack === undefined) return [];
  const rate = (bytesPerSecond * perRack) / oversubscription;
  return Array.from({ length: Math.ceil(nodes / perRack) }, () => ({
    up: createLink(rate),
    down: createLink(rate),
  }));
}

/** The links between two members; the origin is outside all racks. */
function pathBetween(racks: readonly Rack[], perRack: number | undefined, from: Member, to: Member): Link[] {
  const rackOf = ({ id, origin }: Member): number =>
    perRack === undefined || origin ? -1 : Math.floor((id - 1) / perRack);
  const leaves = rackOf(from);
  const enters = rackOf(to);
  if (leaves === enters) return [from.up, to.down];
  const between = [racks[leaves]?.up, racks[enters]?.down].filter((link) => link !== undefined);
  return [from.up, ...between, to.down];
}

function shuffled(count: number, random: () => number): number[] {
  const list = Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [list[last], list[other]] = [list[other] ?? 0, list[last] ?? 0];
  }
  return list;
}
