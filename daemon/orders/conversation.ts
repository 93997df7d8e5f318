/**
 * The conversation with one origin about what it orders: the question for orders is held open by the origin until
 * they change, and reports go beside it. What is done is reported until the origin takes it, and again whenever the
 * origin still asks for it. An origin that is out changes nothing of what is under way.
 */
import { z } from 'zod';
import { type Endpoint, endpointClient } from '#endpoints';
import type { HttpClient } from '#http';
import {
  answer as answerShape,
  HOLD_MS,
  MAX_ORDERS_BYTES,
  type Order,
  type OrdersAnswer,
  type Report,
  reportsAnswer,
} from '#orders';
import type { Logger } from '#telemetry';
import { backoffMs, createPause, createTurnstile } from '#waiting';
import type { Task } from './task.ts';

export interface Conversation {
  /** Shares of the rates of what is fetched now; null: one without a limit. */
  rates(): readonly (number | null)[];
  /** The origin is gone: asks it no more, and ends when what it ordered has ended. */
  leave(): Promise<void>;
  close(): Promise<void>;
}

/** An origin without orders (a tracker that runs alone) is asked again after this. */
const NONE_HERE_MS = 5 * 60_000;
const FIRST_BACKOFF_MS = 500;
const MOST_BACKOFF_MS = 10_000;
/** However often the orders change. */
const LEAST_PAUSE_MS = 100;
const REPORT_DEADLINE_MS = 10_000;
const GRACE_MS = 15_000;
const KEPT_RESULTS = 64;
/** No version is called so: the answer comes at once, and says that the origin is here. */
const UNKNOWN = '?';
const problem = z.object({ detail: z.string() });

export function converse(options: {
  readonly origin: Endpoint;
  readonly node: string;
  readonly name: string;
  readonly zone: string | undefined;
  readonly http: HttpClient;
  readonly start: (
    order: Order,
    origin: { readonly isHere: () => boolean; readonly onEnd: () => void },
  ) => Task;
  /** What is fetched, or at what rate, is another than before. */
  readonly onRates: () => void;
  readonly log: Logger;
}): Conversation {
  const { node, name, zone, log } = options;
  const http = endpointClient(options.http, options.origin);
  const origin = options.origin.name;
  const base = `${options.origin.url}/api/v1/agents/${node}`;
  const stop = new AbortController();
  const tasks = new Map<string, Task>();
  const rates = new Map<string, number | null>();
  /** What ended, by id and attempt; told again when it is asked for again. */
  const results = new Map<string, Report>();
  /** Whose end the origin has not taken yet. */
  const untold = new Set<string>();
  const turnstile = createTurnstile();
  let here = false;
  let known = UNKNOWN;
  let reportMs = 1_000;

  const post = async <T>(
    path: string,
    body: object,
    shape: z.ZodType<T>,
    deadlineMs: number,
  ): Promise<T | undefined> => {
    const response = await http.request(`${base}/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.any([stop.signal, AbortSignal.timeout(deadlineMs)]),
      stallTimeoutMs: deadlineMs,
    });
    const text = (await http.read(response, MAX_ORDERS_BYTES)).toString('utf8');
    if (response.status === 404) return undefined;
    if (response.status !== 200) {
      const { detail } = problem.catch({ detail: text.slice(0, 200) }).parse(JSON.parse(text));
      throw new Error(`${path} answered ${response.status}: ${detail}`);
    }
    return shape.parse(JSON.parse(text));
  };

  const keyOf = ({ id, attempt }: Pick<Order, 'id' | 'attempt'>): string => `${id} ${attempt}`;
  const end = (id: string): void => {
    tasks.get(id)?.cancel();
    tasks.delete(id);
    rates.delete(id);
  };
  const follow = (orders: readonly Order[]): void => {
    const wanted = new Map(orders.map((order) => [order.id, order]));
    for (const [id, { order }] of tasks) {
      if (wanted.get(id)?.attempt !== order.attempt) end(id);
    }
    for (const order of orders) {
      const key = keyOf(order);
      rates.set(order.id, order.bytesPerSecond);
      // It asks for what it was told of: that was lost.
      if (results.has(key)) untold.add(key);
      else if (!tasks.has(order.id)) tasks.set(order.id, begin(order));
    }
    for (const id of rates.keys()) if (!tasks.has(id)) rates.delete(id);
    options.onRates();
    turnstile.open();
  };
  const begin = (order: Order): Task => {
    log.info({ order: order.id, repository: order.repository, digest: order.digest }, 'prefetch ordered');
    const task = options.start(order, {
      isHere: () => here,
      onEnd: () => {
        const key = keyOf(order);
        results.set(key, task.report());
        for (const [oldest] of results) {
          if (results.size <= KEPT_RESULTS) break;
          results.delete(oldest);
        }
        untold.add(key);
        tasks.delete(order.id);
        rates.delete(order.id);
        options.onRates();
        turnstile.open();
      },
    });
    return task;
  };

  const listen = async (): Promise<void> => {
    let failures = 0;
    while (!stop.signal.aborted) {
      const asked = performance.now();
      let pauseMs: number;
      try {
        const said = { name, ...(zone !== undefined && { zone }), known };
        const told: OrdersAnswer | undefined = await post('orders', said, answerShape, HOLD_MS + GRACE_MS);
        here = told !== undefined;
        failures = 0;
        if (told !== undefined) {
          known = told.version;
          reportMs = told.reportSeconds * 1000;
          follow(told.orders);
        }
        pauseMs = here ? Math.max(0, LEAST_PAUSE_MS - (performance.now() - asked)) : NONE_HERE_MS;
      } catch (error) {
        if (stop.signal.aborted) return;
        failures += 1;
        if (here || failures === 1) log.debug({ origin, reason: String(error) }, 'no orders');
        here = false;
        known = UNKNOWN;
        pauseMs = backoffMs(failures, FIRST_BACKOFF_MS, MOST_BACKOFF_MS);
      }
      await createPause().wait(pauseMs, stop.signal);
    }
  };

  const tell = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await turnstile.wait(tasks.size > 0 ? reportMs : undefined, stop.signal);
      if (stop.signal.aborted) return;
      const ended = [...untold].slice(0, 32);
      const running = Array.from(tasks.values(), (task) => task.report());
      const reports = [...ended.flatMap((key) => results.get(key) ?? []), ...running].slice(0, 32);
      if (reports.length === 0 || !here) continue;
      try {
        const taken = await post('reports', { reports }, reportsAnswer, REPORT_DEADLINE_MS);
        if (taken === undefined) continue;
        reportMs = taken.reportSeconds * 1000;
        for (const key of ended) untold.delete(key);
      } catch (error) {
        if (stop.signal.aborted) return;
        log.debug({ origin, reason: String(error) }, 'no report');
        await createPause().wait(FIRST_BACKOFF_MS, stop.signal);
      }
      if (untold.size > 0) turnstile.open();
    }
  };

  const running = Promise.all([listen(), tell()]).catch((error: unknown) =>
    log.error({ err: error }, 'the conversation about orders ended'),
  );
  return {
    rates: () => [...rates.values()],
    async leave() {
      stop.abort();
      // It does not come back: what fails now is given up after some tries.
      here = true;
      await running;
      await Promise.all(Array.from(tasks.values(), (task) => task.ended));
    },
    async close() {
      stop.abort();
      const ending = Array.from(tasks.values(), (task) => task.ended);
      for (const task of tasks.values()) task.cancel();
      await Promise.all([running, ...ending]);
    },
  };
}
