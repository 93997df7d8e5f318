/**
 * The controller: it owns every rollout's state, gives agents their orders, and keeps on the disk what
 * it decided before anybody hears of it. Rules are in machine.ts; who is in which wave in waves.ts.
 */
import { randomBytes } from 'node:crypto';
import type { Database } from '#database';
import { ProblemError } from '#http';
import { type Hello, HOLD_MS, MAX_ORDERS, type Order, type OrdersAnswer, type Report } from '#orders';
import type { Logger, Metrics } from '#telemetry';
import {
  type Change,
  type Command,
  type Event,
  isFinal,
  isOrdered,
  newNode,
  type Rollout,
  step,
} from './machine.ts';
import { createNodes, MAX_NODES, type Nodes } from './nodes.ts';
import { parseSelector } from './selector.ts';
import { shareOf } from './shares.ts';
import { openRolloutStore } from './store.ts';
import { receivedOf, viewOf } from './view.ts';
import { planWaves, type WaveSize } from './waves.ts';

/** What the image's name means now at this origin. */
export interface ResolvedImage {
  readonly repository: string;
  readonly digest: string;
}

export interface NewRollout {
  readonly kind: Rollout['kind'];
  readonly image: string;
  readonly selector: string;
  readonly waves: readonly WaveSize[];
  /** A number of nodes or a share of them; undefined: any number. */
  readonly maxUnavailable?: WaveSize | undefined;
  readonly platforms: readonly string[];
  readonly bytesPerSecond?: number | undefined;
  readonly deadlineMs: number;
  readonly trigger: string;
}

export interface Rollouts {
  /** @throws ProblemError 404 when there is no such image here */
  resolve(image: string): Promise<ResolvedImage>;
  /** On the disk when it resolves. @throws ProblemError for an unknown image, a bad selector, and when nobody is selected */
  create(wanted: NewRollout): Promise<Rollout>;
  get(id: string): Rollout | undefined;
  /** The newest first. */
  list(): Rollout[];
  /** @throws ProblemError 404, 409 */
  command(id: string, command: Command): Promise<Rollout>;
  view(rollout: Rollout): ReturnType<typeof viewOf>;
  readonly nodes: Nodes;
  /** Answers when the node's orders are others than those that it knows, or after a while. */
  hello(node: string, said: Hello, gone: AbortSignal): Promise<OrdersAnswer>;
  report(node: string, reports: readonly Report[]): { readonly reportSeconds: number };
  /** Answers all who wait. */
  release(): void;
  close(): Promise<void>;
}

const TICK_MS = 500;
const MAX_ACTIVE = MAX_ORDERS;
const MAX_KEPT = 500;
/** Nodes that were not seen for so long are in no new rollout. */
const RECENT_MS = 24 * 3_600_000;
const RATE_WINDOW_MS = 10_000;
/** Reports a second that this origin wants in all. */
const REPORTS_PER_SECOND = 500;

interface Waiting {
  readonly known: string;
  readonly answer: () => void;
}

export async function createRollouts(options: {
  readonly db: Database;
  /** @throws ProblemError, OciError when it cannot be said; undefined: there is no such image */
  readonly resolve: (image: string) => Promise<ResolvedImage | undefined>;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}): Promise<Rollouts> {
  const { log, metrics } = options;
  const now = options.now ?? Date.now;
  const store = openRolloutStore(options.db);
  const kept = await store.load();
  const nodes = createNodes(kept.nodes, now);
  const rollouts = new Map(kept.rollouts.map((rollout) => [rollout.id, rollout]));
  const waiting = new Map<string, Waiting>();
  const shares = new Map<string, number>();
  const unsaved = new Map<string, Set<string>>();
  const samples = new Map<string, { readonly at: number; readonly received: number }[]>();
  let woken = false;
  let closed = false;
  let lastAt = Math.max(0, ...kept.rollouts.map(({ createdAt }) => createdAt));

  metrics.gauge<'state'>({
    name: 'shoal_rollouts',
    help: 'Rollouts and prefetches that this origin remembers, by state',
    labels: ['state'],
    read: (gauge) => {
      for (const state of ['running', 'paused', 'stopped', 'done', 'failed', 'cancelled'] as const) {
        gauge.set({ state }, [...rollouts.values()].filter(({ phase }) => phase === state).length);
      }
    },
  });
  metrics.gauge<'state'>({
    name: 'shoal_rollout_nodes',
    help: 'Nodes that speak with this origin for orders, and known ones that are away',
    labels: ['state'],
    read: (gauge) => {
      const away = Array.from(nodes.list(), ({ id }) => nodes.isAway(id)).filter(Boolean).length;
      gauge.set({ state: 'here' }, nodes.size - away);
      gauge.set({ state: 'away' }, away);
    },
  });
  const outcomes = metrics.counter<'result'>({
    name: 'shoal_rollout_node_results_total',
    help: 'Reports of nodes that have an image now (done), or could not fetch it (failed)',
    labels: ['result'],
    known: [{ result: 'done' }, { result: 'failed' }],
  });

  const active = (): Rollout[] => [...rollouts.values()].filter((rollout) => !isFinal(rollout));
  /** After its end a rollout may still have orders for who was away. */
  const giving = (): Rollout[] =>
    [...rollouts.values()].filter(
      ({ phase, deadlineAt }) => phase === 'running' || (phase === 'done' && deadlineAt > now()),
    );

  const ordersOf = (node: string): Order[] => {
    const orders: Order[] = [];
    for (const rollout of giving()) {
      if (orders.length === MAX_ORDERS || !isOrdered(rollout, node)) continue;
      const { id, repository, digest, platforms } = rollout;
      const attempt = rollout.nodes.get(node)?.attempt ?? 0;
      const bytesPerSecond = shares.get(id) ?? null;
      orders.push({ id, attempt, repository, digest, platforms: [...platforms], bytesPerSecond });
    }
    return orders;
  };
  const versionOf = (orders: readonly Order[]): string =>
    orders.map(({ id, attempt, bytesPerSecond }) => `${id}.${attempt}.${bytesPerSecond ?? ''}`).join(' ');

  const setShare = (rollout: Rollout): boolean => {
    if (rollout.bytesPerSecond === null) return false;
    let fetching = 0;
    for (const id of rollout.nodes.keys()) if (isOrdered(rollout, id) && !nodes.isAway(id)) fetching += 1;
    const share = shareOf(rollout.bytesPerSecond, fetching);
    if (shares.get(rollout.id) === share) return false;
    shares.set(rollout.id, share);
    return true;
  };

  /** How often nodes report, so that all who fetch stay below what this origin wants; counted by the tick. */
  let reportSeconds = 1;
  const countFetching = (): void => {
    let fetching = 0;
    for (const rollout of active())
      for (const { state } of rollout.nodes.values()) if (state === 'fetching') fetching += 1;
    reportSeconds = Math.min(30, Math.max(1, fetching / REPORTS_PER_SECOND));
  };

  /** Looks once, in a later turn, whose orders changed. */
  const wake = (): void => {
    if (woken || closed) return;
    woken = true;
    setImmediate(() => {
      woken = false;
      for (const rollout of giving()) setShare(rollout);
      for (const [node, { known, answer }] of waiting) if (versionOf(ordersOf(node)) !== known) answer();
    });
  };

  const note = (rollout: Rollout, changed: Iterable<string>): void => {
    const noted = unsaved.get(rollout.id) ?? new Set();
    for (const id of changed) noted.add(id);
    unsaved.set(rollout.id, noted);
  };
  const flush = async (): Promise<void> => {
    const batches = [...unsaved];
    unsaved.clear();
    for (const [id, changed] of batches) {
      const rollout = rollouts.get(id);
      if (rollout) await store.save(rollout, changed);
    }
    const known = nodes.takeUnsaved();
    if (known.length > 0) await store.saveNodes(known);
  };
  const complain = (error: unknown): void => log.error({ err: error }, 'rollouts could not be written');

  const apply = (rollout: Rollout, event: Event): Change => {
    const before = rollout.phase;
    const change = step(rollout, event);
    if (change.header || change.nodes.length > 0) note(rollout, change.nodes);
    if (change.orders) wake();
    if (rollout.phase !== before) {
      const { id, image, phase, reason, wave } = rollout;
      log.info({ rollout: id, image, state: phase, reason, wave: wave + 1 }, 'rollout');
    }
    return change;
  };

  const sample = (rollout: Rollout, at: number): void => {
    let received = 0;
    for (const { bytes } of rollout.nodes.values()) received += receivedOf(bytes);
    const list = samples.get(rollout.id) ?? [];
    list.push({ at, received });
    while ((list[0]?.at ?? at) < at - RATE_WINDOW_MS) list.shift();
    samples.set(rollout.id, list);
  };
  const rateNow = ({ id, phase }: Rollout): number => {
    const list = samples.get(id) ?? [];
    const [first, last] = [list[0], list.at(-1)];
    if (phase !== 'running' || first === undefined || last === undefined || last.at <= first.at) return 0;
    return Math.max(0, Math.round(((last.received - first.received) * 1000) / (last.at - first.at)));
  };

  const tick = (): void => {
    const at = now();
    for (const rollout of giving()) {
      apply(rollout, { kind: 'tick', isAway: nodes.isAway, at });
      sample(rollout, at);
      if (rollout.bytesPerSecond !== null && setShare(rollout)) wake();
    }
    const finished = [...rollouts.values()].filter(isFinal).sort((a, b) => a.createdAt - b.createdAt);
    for (const old of finished.slice(0, Math.max(0, finished.length - MAX_KEPT))) {
      rollouts.delete(old.id);
      for (const map of [shares, unsaved, samples]) map.delete(old.id);
      store.forget(old).catch(complain);
    }
    countFetching();
    for (const id of nodes.takeForgotten()) store.forgetNode(id).catch(complain);
    flush().catch(complain);
  };
  const timer = setInterval(tick, TICK_MS);
  countFetching();
  for (const rollout of giving()) setShare(rollout);

  /** A node that was not known when a rollout began, and is one of those that it is for. */
  const join = (id: string): void => {
    const node = nodes.get(id);
    if (node === undefined) return;
    for (const rollout of active()) {
      if (parseSelector(rollout.selector)(node)) apply(rollout, { kind: 'join', node: id });
    }
  };

  const resolve = async (image: string): Promise<ResolvedImage> => {
    const found = await options.resolve(image);
    if (found !== undefined) return found;
    throw new ProblemError(404, 'Not Found', `there is no image ${image} here`);
  };

  return {
    nodes,
    resolve,
    async create(wanted) {
      const selects = selectorOf(wanted.selector);
      if (active().length >= MAX_ACTIVE) {
        throw new ProblemError(409, 'Conflict', `${MAX_ACTIVE} rollouts run already: wait, or cancel one`);
      }
      const image = await resolve(wanted.image);
      // Jobs of other tools are told apart by it.
      lastAt = Math.max(now(), lastAt + 1);
      const at = lastAt;
      const chosen = Array.from(nodes.list()).filter((node) => at - node.seenAt < RECENT_MS && selects(node));
      if (chosen.length === 0) {
        throw new ProblemError(
          409,
          'Conflict',
          `no node is selected by '${wanted.selector}': 'shoal rollout nodes' lists those that are known`,
        );
      }
      const planned = planWaves(
        chosen.map(({ id, zone }) => ({ id, zone, away: nodes.isAway(id) })),
        wanted.waves,
      );
      const most = wanted.maxUnavailable;
      const rollout: Rollout = {
        id: `${at.toString(36)}${randomBytes(2).toString('hex')}`,
        kind: wanted.kind,
        ...image,
        image: wanted.image,
        platforms: wanted.platforms,
        selector: wanted.selector,
        waves: Math.max(0, ...planned.values()) + 1,
        maxUnavailable:
          most === undefined
            ? null
            : 'percent' in most
              ? Math.ceil((most.percent * chosen.length) / 100)
              : most.count,
        bytesPerSecond: wanted.bytesPerSecond ?? null,
        createdAt: at,
        trigger: wanted.trigger,
        deadlineAt: at + wanted.deadlineMs,
        ...{ phase: 'running', wave: 0, reason: null, heldAt: null, endedAt: null },
        nodes: new Map([...planned].map(([id, wave]) => [id, newNode(wave)])),
      };
      await store.save(rollout, rollout.nodes.keys());
      rollouts.set(rollout.id, rollout);
      log.info(
        { rollout: rollout.id, image: rollout.image, nodes: chosen.length, trigger: rollout.trigger },
        'rollout begins',
      );
      wake();
      return rollout;
    },
    get: (id) => rollouts.get(id),
    list: () => [...rollouts.values()].sort((a, b) => b.createdAt - a.createdAt),
    async command(id, command) {
      const rollout = rollouts.get(id);
      if (rollout === undefined) throw new ProblemError(404, 'Not Found', `there is no rollout ${id}`);
      const { refused } = apply(rollout, { kind: command, at: now() });
      if (refused !== undefined) throw new ProblemError(409, 'Conflict', refused);
      await flush();
      return rollout;
    },
    view: (rollout) => viewOf(rollout, nodes, rateNow(rollout), now()),
    async hello(node, said, gone) {
      if (closed) throw stopping();
      if (nodes.get(node) === undefined && nodes.size >= MAX_NODES) {
        throw new ProblemError(507, 'Insufficient Storage', `this origin keeps ${MAX_NODES} nodes at most`);
      }
      if (nodes.seen(node, said)) join(node);
      // It asks anew: its earlier question is of no use to it.
      waiting.get(node)?.answer();
      const answerNow = (): OrdersAnswer => {
        const orders = ordersOf(node);
        return { version: versionOf(orders), reportSeconds, orders };
      };
      const first = answerNow();
      if (first.version !== said.known) return first;
      await new Promise<void>((resolve) => {
        const entry: Waiting = {
          known: said.known,
          answer: () => {
            clearTimeout(late);
            gone.removeEventListener('abort', onGone);
            if (waiting.get(node) === entry) waiting.delete(node);
            resolve();
          },
        };
        const onGone = (): void => {
          if (waiting.get(node) === entry) nodes.left(node);
          entry.answer();
        };
        // Spread, so that who asked together does not ask together again.
        const late = setTimeout(entry.answer, HOLD_MS * (0.8 + Math.random() * 0.2));
        gone.addEventListener('abort', onGone, { once: true });
        waiting.set(node, entry);
        if (gone.aborted) onGone();
      });
      // What was released is not what changed: the node asks elsewhere, or again when we are back.
      if (closed) throw stopping();
      return answerNow();
    },
    report(node, reports) {
      const at = now();
      for (const report of reports) {
        const rollout = rollouts.get(report.id);
        if (rollout === undefined) continue;
        const { nodes: changed } = apply(rollout, { kind: 'report', node, report, at });
        if (changed.length > 0 && report.state !== 'fetching') outcomes.inc({ result: report.state });
      }
      return { reportSeconds };
    },
    release() {
      closed = true;
      for (const { answer } of [...waiting.values()]) answer();
    },
    async close() {
      closed = true;
      clearInterval(timer);
      for (const { answer } of [...waiting.values()]) answer();
      await flush().catch(complain);
      await store.close();
    },
  };
}

function stopping(): ProblemError {
  return new ProblemError(503, 'Service Unavailable', 'this origin is stopping');
}

function selectorOf(text: string): ReturnType<typeof parseSelector> {
  try {
    return parseSelector(text);
  } catch (error) {
    if (error instanceof RangeError) throw new ProblemError(400, 'Bad Request', `nodes: ${error.message}`);
    throw error;
  }
}
