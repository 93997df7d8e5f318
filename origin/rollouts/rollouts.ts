/**
 * The controller: it owns every rollout's state, gives agents their orders, and keeps on the disk what
 * it decided before anybody hears of it. Rules are in machine.ts; who is in which wave in waves.ts.
 */
import { randomBytes } from 'node:crypto';
import type { Database } from '#database';
import { ProblemError } from '#http';
import { type Hello, MAX_ORDERS, type Order, type OrdersAnswer, type Report } from '#orders';
import type { Logger, Metrics } from '#telemetry';
import { openJournal } from './journal.ts';
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
import { createPace } from './pace.ts';
import { holdQuestions } from './questions.ts';
import type { Received } from './rates.ts';
import { parseSelector } from './selector.ts';
import { openRolloutStore } from './store.ts';
import { type NodeView, nodeViews, viewOf } from './view.ts';
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

export interface RolloutLook {
  readonly view: ReturnType<typeof viewOf>;
  readonly each: readonly NodeView[];
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
  /** What is told after this is on the disk: a status never goes back, whatever becomes of this program. */
  settled(): Promise<void>;
  /** The view and each node, in the order of the waves. */
  look(rollout: Rollout): RolloutLook;
  /** What its nodes had received when, since it began or this origin started. */
  history(id: string): readonly Received[];
  readonly nodes: Nodes;
  /** Answers when the node's orders are others than those that it knows, or after a while. */
  hello(node: string, said: Hello, gone: AbortSignal): Promise<OrdersAnswer>;
  /** The end of a node's work is on the disk when it resolves. @throws ProblemError 503 when it cannot be written */
  report(node: string, reports: readonly Report[]): Promise<{ readonly reportSeconds: number }>;
  /** Answers all who wait. */
  release(): void;
  close(): Promise<void>;
}

const TICK_MS = 500;
const MAX_ACTIVE = MAX_ORDERS;
/** Rollouts that have ended, and nodes of them all: the newest are kept. */
const MAX_KEPT = 500;
const MAX_KEPT_NODES = 200_000;
/** Nodes that were not seen for so long are in no new rollout. */
const RECENT_MS = 24 * 3_600_000;

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
  /** Those that are done and past their deadline: nothing of them changes any more. */
  const over = new Set<string>();
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
  const journal = openJournal({
    ...{ store, nodes, kept: kept.rollouts },
    onStanding: () => {
      pace.count(counted(), now());
      questions.look();
    },
  });
  const pace = createPace({ isAway: nodes.isAway, standing: journal.standing });
  const questions = holdQuestions({
    versionOf: (node) => versionOf(ordersOf(node)),
    onGone: (node) => nodes.left(node),
  });
  /** After its end a rollout may still have orders for who was away. */
  const giving = (): Rollout[] =>
    [...rollouts.values()].filter((rollout) => {
      const { phase } = journal.standing(rollout);
      return phase === 'running' || (phase === 'done' && rollout.deadlineAt > now());
    });
  /** Whose numbers change: those that have ended only where who comes back needs a share. */
  const counted = (): Rollout[] =>
    giving().filter(({ phase, bytesPerSecond }) => phase === 'running' || bytesPerSecond !== null);

  const ordersOf = (node: string): Order[] => {
    const orders: Order[] = [];
    for (const rollout of giving()) {
      const own = rollout.nodes.get(node);
      if (own === undefined || orders.length === MAX_ORDERS) continue;
      if (!isOrdered(journal.standing(rollout), own)) continue;
      const { id, repository, digest, platforms } = rollout;
      const bytesPerSecond = pace.share(rollout);
      orders.push({
        id,
        attempt: own.attempt,
        repository,
        digest,
        platforms: [...platforms],
        bytesPerSecond,
      });
    }
    return orders;
  };
  const complain = (error: unknown): void => log.error({ err: error }, 'rollouts could not be written');

  const apply = (rollout: Rollout, event: Event): Change => {
    const before = rollout.phase;
    const change = step(rollout, event);
    if (change.header || change.nodes.length > 0) {
      const isProgress = event.kind === 'report' && event.report.state === 'fetching';
      journal.note(rollout, change.nodes, !isProgress);
    }
    if (change.orders) for (const node of change.nodes) questions.look(node);
    if (rollout.phase !== before) {
      const { id, image, phase, reason, wave } = rollout;
      log.info({ rollout: id, image, state: phase, reason, wave: wave + 1 }, 'rollout');
    }
    return change;
  };

  const forgetOldest = (): void => {
    const finished = [...rollouts.values()].filter(isFinal).sort((a, b) => b.createdAt - a.createdAt);
    let kept = 0;
    for (const [place, old] of finished.entries()) {
      kept += old.nodes.size;
      if (place < MAX_KEPT && (place === 0 || kept <= MAX_KEPT_NODES)) continue;
      rollouts.delete(old.id);
      over.delete(old.id);
      pace.forget(old);
      journal.forget(old).catch(complain);
    }
  };
  const tick = (): void => {
    const at = now();
    for (const rollout of rollouts.values()) {
      if (rollout.phase !== 'running' && (rollout.phase !== 'done' || over.has(rollout.id))) continue;
      apply(rollout, { kind: 'tick', isAway: nodes.isAway, at });
      if (rollout.phase === 'done' && at >= rollout.deadlineAt) over.add(rollout.id);
    }
    if (pace.count(counted(), at)) questions.look();
    forgetOldest();
    for (const id of nodes.takeForgotten()) store.forgetNode(id).catch(complain);
    nodes.lookWhoIsAway();
    journal.flush().catch(complain);
  };
  const timer = setInterval(tick, TICK_MS);
  pace.count(counted(), now());

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

  const look = (rollout: Rollout): RolloutLook => {
    const each = nodeViews(rollout, nodes, now());
    return { view: viewOf(rollout, each, pace.bytesPerSecond(rollout)), each };
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
      await journal.begin(rollout);
      rollouts.set(rollout.id, rollout);
      log.info(
        { rollout: rollout.id, image: rollout.image, nodes: chosen.length, trigger: rollout.trigger },
        'rollout begins',
      );
      pace.count(counted(), now());
      questions.look();
      return rollout;
    },
    get: (id) => rollouts.get(id),
    list: () => [...rollouts.values()].sort((a, b) => b.createdAt - a.createdAt),
    async command(id, command) {
      const rollout = rollouts.get(id);
      if (rollout === undefined) throw new ProblemError(404, 'Not Found', `there is no rollout ${id}`);
      const { refused } = apply(rollout, { kind: command, at: now() });
      if (refused !== undefined) throw new ProblemError(409, 'Conflict', refused);
      await journal.settled();
      return rollout;
    },
    view: (rollout) => look(rollout).view,
    look,
    history: (id) => pace.history(id),
    // What cannot be written is told nevertheless.
    settled: () => journal.flush().catch(() => undefined),
    async hello(node, said, gone) {
      if (closed) throw stopping();
      if (nodes.get(node) === undefined && nodes.size >= MAX_NODES) {
        throw new ProblemError(507, 'Insufficient Storage', `this origin keeps ${MAX_NODES} nodes at most`);
      }
      if (nodes.seen(node, said)) join(node);
      const answerNow = (): OrdersAnswer => {
        const orders = ordersOf(node);
        return { version: versionOf(orders), reportSeconds: pace.reportSeconds(), orders };
      };
      const first = answerNow();
      if (first.version !== said.known) return first;
      await questions.hold(node, said.known, gone);
      // What was released is not what changed: the node asks elsewhere, or again when we are back.
      if (closed) throw stopping();
      return answerNow();
    },
    async report(node, reports) {
      const at = now();
      let ended = 0;
      for (const report of reports) {
        const rollout = rollouts.get(report.id);
        if (rollout === undefined) continue;
        const { nodes: changed } = apply(rollout, { kind: 'report', node, report, at });
        if (changed.length === 0 || report.state === 'fetching') continue;
        ended += 1;
        outcomes.inc({ result: report.state });
      }
      if (ended > 0) {
        await journal.settled().catch((error: unknown) => {
          complain(error);
          throw new ProblemError(503, 'Service Unavailable', 'this origin cannot write down reports now');
        });
      }
      return { reportSeconds: pace.reportSeconds() };
    },
    release() {
      closed = true;
      questions.release();
    },
    async close() {
      closed = true;
      clearInterval(timer);
      questions.release();
      await journal.flush().catch(complain);
      await store.close();
    },
  };
}

function versionOf(orders: readonly Order[]): string {
  return orders
    .map(({ id, attempt, bytesPerSecond }) => `${id}.${attempt}.${bytesPerSecond ?? ''}`)
    .join(' ');
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
