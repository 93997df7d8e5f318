/**
 * Orders: what origins tell this node to fetch before anybody asks for it (see src/orders).
 *
 *     const orders = takeOrders({ origins, node, name, http, parts, log });
 *     await orders.close(); // what is under way keeps its verified pieces
 */
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import type { Budget } from '../budget/budget.ts';
import { converse } from './conversation.ts';
import type { PrefetchParts } from './prefetch.ts';
import { startTask } from './task.ts';

export interface Orders {
  close(): Promise<void>;
}

/** Longer than an origin is silent while it has orders for us; one that went away limits us no longer. */
const BELIEVED_MS = 10 * 60_000;

export function takeOrders(options: {
  readonly origins: readonly string[];
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
  const conversations = options.origins.map((origin) =>
    converse({
      ...{ origin, node, name, zone, http, log },
      start: (order, { isHere, onEnd }) => startTask(order, { ...parts, isOriginHere: isHere, onEnd, log }),
      onRates: () => {
        const rates = conversations.flatMap((each) => each.rates());
        const limits = rates.filter((rate) => rate !== null);
        const download = limits.reduce((sum, rate) => sum + rate, 0);
        if (rates.length > 0) {
          const limited = limits.length === rates.length && { download };
          budget.rollout({ until: Date.now() + BELIEVED_MS, ...limited });
        } else if (told) budget.rollout(undefined);
        told = rates.length > 0;
      },
    }),
  );
  return {
    async close() {
      await Promise.all(conversations.map((each) => each.close()));
    },
  };
}
