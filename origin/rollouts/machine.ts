/**
 * A rollout's state, changed by events alone: no clock, no disk, no network. Whoever calls tells the time
 * and who is away, keeps what changed, and gives orders by `isOrdered`.
 *
 *   running ──> done        each node of the last wave has the image or is unavailable, within the limit
 *      │  ↑ ──> failed      the deadline passed
 *      │  └─── resume ──┐
 *      ├──> stopped ────┤   more nodes failed or are away than may be
 *      ├──> paused ─────┘
 *      └──> cancelled       (from paused and stopped too)
 *
 * What always holds: a node has an order only in a wave that has begun; a wave begins when every node of
 * those before it has the image or is unavailable, and no more are than may be; while paused, stopped,
 * failed or cancelled nobody has an order. After `done` those who were away keep theirs until the deadline.
 */
import { type BytesBySource, NO_BYTES, type Report } from '#orders';

export type Phase = 'running' | 'paused' | 'stopped' | 'done' | 'failed' | 'cancelled';
type NodeState = 'waiting' | 'fetching' | 'done' | 'failed';

export interface RolloutNode {
  readonly wave: number;
  state: NodeState;
  attempt: number;
  reason: string | null;
  totalBytes: number;
  bytes: BytesBySource;
  /** Milliseconds since the epoch; of its first report and of the one that ended it. */
  startedAt: number | null;
  endedAt: number | null;
}

export interface Rollout {
  readonly id: string;
  readonly kind: 'prefetch' | 'rollout';
  readonly repository: string;
  /** As the user named it. */
  readonly image: string;
  readonly digest: string;
  readonly platforms: readonly string[];
  readonly selector: string;
  readonly waves: number;
  /** Nodes that may be failed or away; null: any number. */
  readonly maxUnavailable: number | null;
  readonly bytesPerSecond: number | null;
  /** Milliseconds since the epoch, as all times here. */
  readonly createdAt: number;
  /** Who or what asked for it. */
  readonly trigger: string;
  deadlineAt: number;
  phase: Phase;
  /** The newest wave that has begun. */
  wave: number;
  reason: string | null;
  /** When it was paused or stopped: the deadline waits meanwhile. */
  heldAt: number | null;
  endedAt: number | null;
  readonly nodes: Map<string, RolloutNode>;
}

export type Command = 'pause' | 'resume' | 'cancel';

export type Event =
  | { readonly kind: 'report'; readonly node: string; readonly report: Report; readonly at: number }
  | { readonly kind: 'tick'; readonly isAway: (node: string) => boolean; readonly at: number }
  | { readonly kind: 'join'; readonly node: string }
  | { readonly kind: Command; readonly at: number };

/** `header`: all but the nodes; `orders`: who has an order, or which. */
export interface Change {
  readonly header: boolean;
  readonly orders: boolean;
  readonly nodes: readonly string[];
  /** Why a command changes nothing. */
  readonly refused?: string;
}

const NOTHING: Change = { header: false, orders: false, nodes: [] };
const FINAL: ReadonlySet<Phase> = new Set(['done', 'failed', 'cancelled']);

export function isFinal({ phase }: Pick<Rollout, 'phase'>): boolean {
  return FINAL.has(phase);
}

export function newNode(wave: number): RolloutNode {
  return {
    ...{ wave, state: 'waiting', attempt: 0, reason: null, totalBytes: 0, bytes: NO_BYTES },
    ...{ startedAt: null, endedAt: null },
  };
}

/** Whether a node of a rollout that stands so shall fetch the image now. */
export function isOrdered(
  { phase, wave }: Pick<Rollout, 'phase' | 'wave'>,
  node: RolloutNode | undefined,
): boolean {
  if (phase !== 'running' && phase !== 'done') return false;
  if (node === undefined || node.wave > wave) return false;
  return node.state === 'waiting' || node.state === 'fetching';
}

/** Changes the rollout, and says what changed. */
export function step(rollout: Rollout, event: Event): Change {
  switch (event.kind) {
    case 'report':
      return onReport(rollout, event.node, event.report, event.at);
    case 'tick':
      return onTick(rollout, event.isAway, event.at);
    case 'join':
      return onJoin(rollout, event.node);
    case 'pause':
      return onPause(rollout, event.at);
    case 'resume':
      return onResume(rollout, event.at);
    case 'cancel':
      return onCancel(rollout, event.at);
  }
}

function onReport(rollout: Rollout, id: string, report: Report, at: number): Change {
  const node = rollout.nodes.get(id);
  // Of a wave that has not begun, of an attempt before this one, or after its end: it is not believed.
  if (node === undefined || node.wave > rollout.wave || node.state === 'done') return NOTHING;
  if (report.attempt !== node.attempt || node.state === 'failed') return NOTHING;
  node.totalBytes = report.totalBytes;
  node.bytes = report.bytes;
  node.reason = report.reason;
  node.startedAt ??= at;
  const wasOrdered = isOrdered(rollout, node);
  node.state = report.state;
  if (report.state === 'fetching') return { ...NOTHING, nodes: [id] };
  node.endedAt = at;
  return { header: false, orders: wasOrdered, nodes: [id] };
}

function onTick(rollout: Rollout, isAway: (node: string) => boolean, at: number): Change {
  if (rollout.phase === 'done') return expireLeftovers(rollout, at);
  if (rollout.phase !== 'running') return NOTHING;
  let unavailable = 0;
  let open = 0;
  for (const [id, node] of rollout.nodes) {
    if (node.wave > rollout.wave || node.state === 'done') continue;
    if (node.state === 'failed' || isAway(id)) unavailable += 1;
    else open += 1;
  }
  const most = rollout.maxUnavailable;
  if (most !== null && unavailable > most) {
    const reason = `${missing(unavailable)}, at most ${most} may be`;
    return hold(rollout, 'stopped', reason, at);
  }
  if (open === 0 && rollout.wave + 1 < rollout.waves) {
    rollout.wave += 1;
    return { header: true, orders: true, nodes: [] };
  }
  if (open === 0) {
    return end(rollout, 'done', unavailable === 0 ? null : missing(unavailable), at);
  }
  if (at < rollout.deadlineAt) return NOTHING;
  return end(
    rollout,
    'failed',
    `the deadline passed; without it: ${open + unavailable} of the nodes whose wave has begun`,
    at,
  );
}

function missing(nodes: number): string {
  return nodes === 1 ? '1 node failed or is away' : `${nodes} nodes failed or are away`;
}

/** After `done`: who was away gets no order past the deadline. */
function expireLeftovers(rollout: Rollout, at: number): Change {
  if (at < rollout.deadlineAt) return NOTHING;
  const left = [...rollout.nodes].filter(([, node]) => isOrdered(rollout, node));
  for (const [, node] of left) {
    node.state = 'failed';
    node.reason = 'it was away until the deadline';
    node.endedAt = at;
  }
  return { header: false, orders: left.length > 0, nodes: left.map(([id]) => id) };
}

function onJoin(rollout: Rollout, id: string): Change {
  if (isFinal(rollout) || rollout.nodes.has(id)) return NOTHING;
  const node = newNode(rollout.waves - 1);
  rollout.nodes.set(id, node);
  return { header: false, orders: isOrdered(rollout, node), nodes: [id] };
}

function onPause(rollout: Rollout, at: number): Change {
  if (rollout.phase === 'paused') return NOTHING;
  if (rollout.phase !== 'running') return refuse(rollout, 'paused');
  return hold(rollout, 'paused', null, at);
}

function onResume(rollout: Rollout, at: number): Change {
  if (rollout.phase === 'running') return NOTHING;
  if (isFinal(rollout)) return refuse(rollout, 'resumed');
  rollout.deadlineAt += Math.max(0, at - (rollout.heldAt ?? at));
  rollout.heldAt = null;
  rollout.phase = 'running';
  rollout.reason = null;
  const retried: string[] = [];
  for (const [id, node] of rollout.nodes) {
    if (node.state !== 'failed') continue;
    Object.assign(node, { state: 'waiting', attempt: node.attempt + 1, reason: null, endedAt: null });
    retried.push(id);
  }
  return { header: true, orders: true, nodes: retried };
}

function onCancel(rollout: Rollout, at: number): Change {
  if (rollout.phase === 'cancelled') return NOTHING;
  if (rollout.phase === 'done') {
    rollout.deadlineAt = Math.min(rollout.deadlineAt, at);
    return { ...expireLeftovers(rollout, at), header: true };
  }
  if (isFinal(rollout)) return refuse(rollout, 'cancelled');
  return end(rollout, 'cancelled', null, at);
}

function refuse(rollout: Rollout, verb: string): Change {
  return { ...NOTHING, refused: `it is ${rollout.phase} and cannot be ${verb}` };
}

function hold(rollout: Rollout, phase: Phase, reason: string | null, at: number): Change {
  rollout.phase = phase;
  rollout.reason = reason;
  rollout.heldAt = at;
  return { header: true, orders: true, nodes: [] };
}

function end(rollout: Rollout, phase: Phase, reason: string | null, at: number): Change {
  rollout.phase = phase;
  rollout.reason = reason;
  rollout.endedAt = at;
  return { header: true, orders: true, nodes: [] };
}
