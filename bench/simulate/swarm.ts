/** Runs one scenario: who is there, how they meet, what happens to them; and measures. */
import { rankMembers } from '../../src/swarm/ranking/index.ts';
import { createEvents } from './events.ts';
import { createMember, type Member, type World } from './member.ts';
import { createLink, type Link } from './network.ts';
import { createRandom } from './random.ts';

export interface Scenario {
  readonly name: string;
  readonly nodes: number;
  readonly bytesPerSecond: number;
  readonly blobBytes: number;
  readonly pieceBytes: number;
  readonly blockBytes: number;
  readonly latencyMs: number;
  readonly seed: number;
  /** Connections that a node dials; about as many are dialled to it. */
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
  /** Told of each block that is sent, for closer looks. */
  readonly onSent?: (now: number, from: Member, to: Member, bytes: number) => void;
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
  readonly members: readonly Member[];
}

interface Rack {
  readonly up: Link;
  readonly down: Link;
}

export function simulate(scenario: Scenario): Outcome {
  const began = performance.now();
  const random = createRandom(scenario.seed);
  const events = createEvents();
  const { nodes, perRack, bytesPerSecond, blobBytes } = scenario;
  const rackCount = perRack === undefined ? 0 : Math.ceil(nodes / perRack);
  const rackRate = (bytesPerSecond * (perRack ?? 0)) / (scenario.oversubscription ?? 1);
  const racks: Rack[] = Array.from({ length: rackCount }, () => ({
    up: createLink(rackRate),
    down: createLink(rackRate),
  }));
  const rackOf = (member: Member): number | undefined =>
    perRack === undefined || member.origin ? undefined : Math.floor((member.id - 1) / perRack);
  const boundMs = scenario.boundMs ?? (blobBytes / bytesPerSecond) * 1_000;
  const pieceCount = Math.ceil(blobBytes / scenario.pieceBytes);
  const world: World = {
    events,
    random,
    pieceCount,
    holdings: new Uint8Array((nodes + 1) * pieceCount),
    pieceBytes: scenario.pieceBytes,
    blockBytes: scenario.blockBytes,
    latencyMs: scenario.latencyMs,
    windowBytes: scenario.windowBytes,
    runBytes: scenario.runBytes,
    slots: scenario.slots,
    turnBytes: scenario.turnBytes,
    path(from, to) {
      const leaves = rackOf(from);
      const enters = rackOf(to);
      if (leaves === enters) return [from.up, to.down];
      const path = [from.up];
      const outer = leaves === undefined ? undefined : racks[leaves];
      const inner = enters === undefined ? undefined : racks[enters];
      if (outer !== undefined) path.push(outer.up);
      if (inner !== undefined) path.push(inner.down);
      path.push(to.down);
      return path;
    },
    sent: (from, to, bytes) => scenario.onSent?.(events.now, from, to, bytes),
  };

  const origin = createMember(world, {
    id: 0,
    zone: scenario.zones === true ? 'core' : undefined,
    up: createLink(bytesPerSecond),
    down: createLink(bytesPerSecond),
    origin: true,
  });
  const members: Member[] = [];
  let originPeers = 0;

  function arrive(index: number): void {
    const rate = bytesPerSecond * (scenario.part?.(index) ?? 1);
    const zone =
      scenario.zones === true && perRack !== undefined ? `dc/rack${Math.floor(index / perRack)}` : undefined;
    const member = createMember(world, {
      id: index + 1,
      zone,
      up: createLink(rate),
      down: createLink(rate),
      origin: false,
    });
    members.push(member);
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
      if (member.zone !== undefined) known.push(...members.filter((other) => other.zone === member.zone));
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
    for (const { member: other } of ranked.slice(0, scenario.dials)) member.connect(other);
    if (originPeers >= scenario.originPeers) return;
    originPeers++;
    member.connect(origin);
  }

  if (scenario.arrivalMs === undefined) {
    for (let index = 0; index < nodes; index++) arrive(index);
    for (const index of shuffled(nodes, random)) {
      const member = members[index];
      if (member !== undefined) events.at(random() * 50, () => meet(member));
    }
  } else {
    const { arrivalMs } = scenario;
    for (let index = 0; index < nodes; index++) {
      events.at(index * arrivalMs, () => {
        arrive(index);
        const member = members[index];
        if (member !== undefined) meet(member);
      });
    }
  }

  const { killed } = scenario;
  if (killed !== undefined) {
    const victims = shuffled(nodes, random).slice(0, Math.floor(nodes * killed));
    const watch = (): void => {
      const missing = members.map((member) => member.picker?.missing ?? 0).toSorted((a, b) => a - b);
      if ((missing[nodes >> 1] ?? 0) > world.pieceCount / 2) {
        events.at(events.now + 50, watch);
        return;
      }
      for (const victim of victims) members[victim]?.leave();
    };
    events.at(0, watch);
  }

  const span = (scenario.arrivalMs ?? 0) * nodes;
  for (let end = 0; end < span + boundMs * 30; end += boundMs / 4) {
    events.run(end);
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
    rackMean: rackCount === 0 ? undefined : into.reduce((sum, one) => sum + one, 0) / rackCount,
    rackMost: rackCount === 0 ? undefined : Math.max(...into),
    wasted: members.reduce((sum, member) => sum + member.wastedBytes, 0) / (blobBytes * nodes),
    events: events.count,
    members,
    wallMs: performance.now() - began,
  };
}

function shuffled(count: number, random: () => number): number[] {
  const list = Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [list[last], list[other]] = [list[other] ?? 0, list[last] ?? 0];
  }
  return list;
}
