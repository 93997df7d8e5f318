/** A rollout as people and programs are told of it: counts, bytes, who is slow and why. */
import { type BytesBySource, NO_BYTES, SOURCES } from '#orders';
import { isOrdered, type Rollout, type RolloutNode } from './machine.ts';
import type { Nodes } from './nodes.ts';

interface Part {
  nodes: number;
  done: number;
  failed: number;
  away: number;
  fetching: number;
  waiting: number;
  haveBytes: number;
  totalBytes: number;
}

export interface NodeView {
  readonly id: string;
  readonly name: string;
  readonly zone: string | null;
  readonly wave: number;
  readonly state: RolloutNode['state'] | 'away';
  readonly haveBytes: number;
  readonly totalBytes: number;
  readonly bytes: BytesBySource;
  readonly reason: string | null;
  readonly seconds: number | null;
}

const SLOWEST = 5;
const iso = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString());

function headerView(rollout: Rollout) {
  const { id, kind, image, repository, digest, platforms, selector, phase, reason } = rollout;
  return {
    ...{ id, kind, image, repository, digest, platforms, selector },
    ...{ state: phase, reason, trigger: rollout.trigger },
    wave: rollout.wave + 1,
    waveCount: rollout.waves,
    maxUnavailable: rollout.maxUnavailable,
    bytesPerSecond: rollout.bytesPerSecond,
    createdAt: iso(rollout.createdAt),
    deadlineAt: iso(rollout.deadlineAt),
    endedAt: iso(rollout.endedAt),
  };
}

/** `all`: what `nodeViews` made of it. */
export function viewOf(rollout: Rollout, all: readonly NodeView[], bytesPerSecondNow: number) {
  const waves = Array.from({ length: rollout.waves }, (_, wave) => ({ wave: wave + 1, ...emptyPart() }));
  const zones = new Map<string, Part>();
  const sum = emptyPart();
  const bytes: Record<(typeof SOURCES)[number], number> = { ...NO_BYTES };
  const size = usualSize(all);
  for (const node of all) {
    const zone = node.zone ?? '-';
    const part = zones.get(zone) ?? emptyPart();
    zones.set(zone, part);
    for (const each of [sum, part, waves[node.wave - 1]]) if (each) count(each, node, size);
    for (const source of SOURCES) bytes[source] += node.bytes[source];
  }
  return {
    ...headerView(rollout),
    nodes: sum,
    waves,
    zones: [...zones].map(([zone, part]) => ({ zone, ...part })).sort((a, b) => (a.zone < b.zone ? -1 : 1)),
    bytes,
    /** What other agents gave, and direct pulls would have taken from the origin. */
    savedBytes: bytes.peer,
    bytesPerSecondNow,
    etaSeconds: etaOf(all, rollout, bytesPerSecondNow, size),
    slowest: slowestOf(all),
  };
}

/** Each node, in the order of the waves. */
export function nodeViews(rollout: Rollout, nodes: Nodes, now: number): NodeView[] {
  return [...rollout.nodes]
    .map(([id, node]) => nodeView(id, node, rollout, nodes, now))
    .sort((a, b) => a.wave - b.wave);
}

/** A rollout in a list. */
export function summaryOf(rollout: Rollout, nodes: Nodes) {
  const sum = emptyPart();
  const size = usualSize(rollout.nodes.values());
  for (const [id, node] of rollout.nodes) {
    const counted = { state: stateOf(id, node, rollout, nodes), haveBytes: haveOf(node.bytes) };
    count(sum, { ...counted, totalBytes: node.totalBytes }, size);
  }
  return { ...headerView(rollout), nodes: sum };
}

function haveOf(bytes: BytesBySource): number {
  return SOURCES.reduce((sum, source) => sum + bytes[source], 0);
}

/** What came over the network. */
export function receivedOf(bytes: BytesBySource): number {
  return haveOf(bytes) - bytes.present - bytes.resumed;
}

function stateOf(id: string, node: RolloutNode, rollout: Rollout, nodes: Nodes): NodeView['state'] {
  const open = node.state === 'waiting' || node.state === 'fetching';
  if (open && nodes.isAway(id)) return 'away';
  return node.state === 'fetching' && !isOrdered(rollout, node) ? 'waiting' : node.state;
}

function nodeView(id: string, node: RolloutNode, rollout: Rollout, nodes: Nodes, now: number): NodeView {
  const known = nodes.get(id);
  const state = stateOf(id, node, rollout, nodes);
  const { startedAt, endedAt } = node;
  return {
    id,
    name: known?.name ?? id,
    zone: known?.zone ?? null,
    wave: node.wave + 1,
    state,
    haveBytes: haveOf(node.bytes),
    totalBytes: node.totalBytes,
    bytes: node.bytes,
    reason: state === 'away' ? 'it does not speak with the origin' : node.reason,
    seconds: startedAt === null ? null : Math.max(0, (endedAt ?? now) - startedAt) / 1000,
  };
}

function emptyPart(): Part {
  return {
    ...{ nodes: 0, done: 0, failed: 0, away: 0, fetching: 0, waiting: 0 },
    ...{ haveBytes: 0, totalBytes: 0 },
  };
}

type Counted = Pick<NodeView, 'state' | 'haveBytes' | 'totalBytes'>;

function count(part: Part, node: Counted, usualSize: number): void {
  part.nodes += 1;
  part[node.state] += 1;
  part.haveBytes += node.haveBytes;
  part.totalBytes += node.totalBytes || usualSize;
}

/** Bytes of the image where a node has not said it yet: as others found it. Nodes differ by their platform. */
function usualSize(all: Iterable<Pick<NodeView, 'totalBytes'>>): number {
  let [sum, known] = [0, 0];
  for (const { totalBytes } of all) {
    sum += totalBytes;
    if (totalBytes > 0) known += 1;
  }
  return Math.round(sum / Math.max(1, known));
}

/** Seconds until every node that can has it, at the rate of now; null: that cannot be said. */
function etaOf(
  all: readonly NodeView[],
  { phase }: Rollout,
  bytesPerSecond: number,
  usualSize: number,
): number | null {
  if (phase !== 'running' || bytesPerSecond <= 0 || usualSize === 0) return null;
  const missing = all
    .filter(({ state }) => state === 'fetching' || state === 'waiting')
    .reduce((sum, node) => sum + (node.totalBytes || usualSize) - node.haveBytes, 0);
  return Math.ceil(missing / bytesPerSecond);
}

/** The lower, the more somebody should look at it: failed, away, then the slowest of those who fetch. */
export function troubleOf({ state, haveBytes, totalBytes }: NodeView): number {
  if (state === 'failed') return 0;
  if (state === 'away') return 1;
  const share = totalBytes === 0 ? 0 : haveBytes / totalBytes;
  return state === 'fetching' ? 2 + share : state === 'waiting' ? 4 : 5;
}

function slowestOf(all: readonly NodeView[]): NodeView[] {
  return all
    .filter(({ state }) => state === 'failed' || state === 'away' || state === 'fetching')
    .sort((a, b) => troubleOf(a) - troubleOf(b))
    .slice(0, SLOWEST);
}
