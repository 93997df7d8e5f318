/**
 * Orders: what origins tell this node to fetch before anybody asks for it (see src/orders).
 *
 *     const orders = takeOrders({ origins, node, name, http, parts, log });
 *     await orders.close(); // what is under way keeps its verified pieces
 */
import type { Each, Endpoints } from '#endpoints';
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import type { Budget } from '../budget/budget.ts';
import { type Conversation, converse } from './conversation.ts';
import type { PrefetchParts } from './prefetch.ts';
import { startTask } from './task.ts';

export interface Orders {
  close(): Promise<void>;
}

/** Longer than an origin is silent while it has orders for us; one that went away limits us no longer. */
const BELIEVED_MS = 10 * 60_000;

export function takeOrders(options: {
  readonly origins: Endpoints;
  /** Our peer id, which stays the same over restarts. */
  readonly node: string;
  readonly name: string;
  readonly zone: string | undefined;
  readonly http: HttpClient;
  readonly parts: PrefetchParts;
  /** The node's network budget: told while something is ordered, and of the most that it may take together. */
  readonly budget: Pick<Budget, 'rollout'>;
  readonly log: Logger;
}): Orders {
  const { node, name, zone, http, parts, budget, log } = options;
  /** What an operator said of a rollout is not taken back. */
  let told = false;
  /** With origins that are gone, while what they ordered goes on. */
  const leaving = new Set<Conversation>();
  const all = (): readonly Conversation[] => [...conversations.values(), ...leaving];
  const onRates = (): void => {
    const rates = all().flatMap((each) => each.rates());
    const limits = rates.filter((rate) => rate !== null);
    const download = limits.reduce((sum, rate) => sum + rate, 0);
    if (rates.length > 0) {
      const limited = limits.length === rates.length && { download };
      budget.rollout({ until: Date.now() + BELIEVED_MS, ...limited });
    } else if (told) budget.rollout(undefined);
    told = rates.length > 0;
  };
  const conversations: Each<Conversation> = options.origins.each(
    (origin) =>
      converse({
        ...{ origin, node, name, zone, http, log, onRates },
        start: (order, { isHere, onEnd }) => startTask(order, { ...parts, isOriginHere: isHere, onEnd, log }),
      }),
    async (conversation) => {
      leaving.add(conversation);
      await conversation.leave();
      leaving.delete(conversation);
    },
  );
  return {
    async close() {
      await Promise.all(all().map((each) => each.close()));
    },
  };
}
