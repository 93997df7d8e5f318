/** A download that does not take place: its bytes grow with the time, and its order is done at the end. */
import { NO_BYTES, type Order } from '#orders';
import type { Task } from '../../daemon/orders/task.ts';

export function pretend(
  order: Order,
  options: { readonly size: number; readonly seconds: number; readonly onEnd: () => void },
): Task {
  const { size, seconds } = options;
  const since = performance.now();
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  let state: 'fetching' | 'done' = 'fetching';
  const timer = setTimeout(() => {
    state = 'done';
    options.onEnd();
    resolve();
  }, seconds * 1000);
  return {
    order,
    ended,
    cancel() {
      clearTimeout(timer);
      resolve();
    },
    report() {
      const share = state === 'done' ? 1 : Math.min(1, (performance.now() - since) / 1000 / seconds);
      const have = Math.floor(size * share);
      const originSwarm = Math.floor(have / 20);
      const bytes = { ...NO_BYTES, peer: have - originSwarm, originSwarm };
      return { id: order.id, attempt: order.attempt, state, totalBytes: size, bytes, reason: null };
    },
  };
}
