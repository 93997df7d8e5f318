/**
 * Orders: what origins tell this node to fetch before anybody asks for it (see src/orders).
 *
 *     const orders = takeOrders({ origins, node, name, http, parts, log });
 *     await orders.close(); // what is under way keeps its verified pieces
 */
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import { converse } from './conversation.ts';
import type { PrefetchParts } from './prefetch.ts';
import { startTask } from './task.ts';

export interface Orders {
  close(): Promise<void>;
}

export function takeOrders(options: {
  readonly origins: readonly string[];
  /** Our peer id, which stays the same over restarts. */
  readonly node: string;
  readonly name: string;
  readonly zone: string | undefined;
  readonly http: HttpClient;
  readonly parts: PrefetchParts;
  /** Told of the most that all that is ordered may take together; undefined: no limit. */
  readonly limit: (bytesPerSecond: number | undefined) => void;
  readonly log: Logger;
}): Orders {
  const { node, name, zone, http, parts, log } = options;
  const conversations = options.origins.map((origin) =>
    converse({
      ...{ origin, node, name, zone, http, log },
      start: (order, { isHere, onEnd }) => startTask(order, { ...parts, isOriginHere: isHere, onEnd, log }),
      onRates: () => {
        const rates = conversations.flatMap((each) => each.rates());
        const limits = rates.filter((rate) => rate !== null);
        const limited = rates.length > 0 && limits.length === rates.length;
        options.limit(limited ? limits.reduce((sum, rate) => sum + rate, 0) : undefined);
      },
    }),
  );
  return {
    async close() {
      await Promise.all(conversations.map((each) => each.close()));
    },
  };
}
