/**
 * What an origin tells agents to fetch, and what they report. An agent asks for its orders, and the
 * answer is held open until they are others than those that it knows; so it hears within a round trip,
 * and an idle agent costs one small request in three quarters of a minute.
 *
 *     POST /api/v1/agents/<node id>/orders    {"name", "zone", "known"} -> {"version", "reportSeconds", "orders"}
 *     POST /api/v1/agents/<node id>/reports   {"reports": [...]}        -> {"reportSeconds"}
 *     POST /api/v1/agents/<node id>/accounts  {"rows": [...]}           -> {"nextSeconds", "oldestDay"}   (accounts.ts)
 *
 * An order stands in the list until its origin has a report that it is done: whichever side forgets,
 * the next conversation sets it right.
 */
import { z } from 'zod';
import { DIGEST } from './digest.ts';

export {
  type Account,
  type AccountRow,
  accounts,
  accountsAnswer,
  dayOf,
  emptyAccount,
  FETCHED,
  MAX_ACCOUNT_ROWS,
  MAX_IMAGES_A_DAY,
  OPEN_DAYS,
  SERVED,
  storedAccount,
} from './accounts.ts';

/** The most orders that a node is given at a time. */
export const MAX_ORDERS = 32;
/** How long an answer is held open at most. Idle connections are closed after a minute. */
export const HOLD_MS = 45_000;
export const MAX_ORDERS_BYTES = 256 * 1024;

export const NODE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
export const PLATFORM = /^[a-z0-9]+\/[a-z0-9_]+(?:\/[a-z0-9]+)?$/;
const bytes = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const seconds = z.number().min(0.05).max(3_600);

export const hello = z.strictObject({
  name: z.string().regex(NODE_NAME, 'must be a host name'),
  zone: z
    .string()
    .max(511)
    .regex(/^[\w.-]{1,63}(?:\/[\w.-]{1,63}){0,7}$/, 'must be like eu1/rack7')
    .optional(),
  /** The version of the orders that the agent has; any other text is answered at once. */
  known: z.string().max(4_096),
});
export type Hello = z.infer<typeof hello>;

const order = z.object({
  id: z.string().min(1).max(64),
  /** Grows when the node shall try again what it had reported as failed. */
  attempt: z.int().min(0),
  /** As at the origin: `library/app`, `docker.io/library/app`. */
  repository: z.string().min(1).max(512),
  digest: z.string().regex(DIGEST),
  /** Of an index; empty: the node's own; `all`: every one. */
  platforms: z.array(z.string().max(64)).max(16),
  /** The node's share of the rollout's rate; null: no limit. */
  bytesPerSecond: z.int().min(1).nullable(),
});
export type Order = z.infer<typeof order>;

export const answer = z.object({
  version: z.string().max(4_096),
  reportSeconds: seconds,
  orders: z.array(order).max(MAX_ORDERS),
});
export type OrdersAnswer = z.infer<typeof answer>;

export const reportsAnswer = z.object({ reportSeconds: seconds });

/** Where an image's bytes came from; `present`: they were there before. */
export const SOURCES = ['peer', 'originSwarm', 'originHttp', 'upstream', 'resumed', 'present'] as const;
const bySource = z.strictObject({
  peer: bytes,
  originSwarm: bytes,
  originHttp: bytes,
  upstream: bytes,
  resumed: bytes,
  present: bytes,
});
export type BytesBySource = z.infer<typeof bySource>;
export const NO_BYTES: BytesBySource = {
  ...{ peer: 0, originSwarm: 0, originHttp: 0, upstream: 0, resumed: 0, present: 0 },
};

const report = z.strictObject({
  id: z.string().min(1).max(64),
  attempt: z.int().min(0),
  state: z.enum(['fetching', 'done', 'failed']),
  /** Of all its blobs; 0 until the manifest is read. */
  totalBytes: bytes,
  bytes: bySource,
  /** Why it failed, or what it waits for. */
  reason: z.string().max(500).nullable(),
});
export type Report = z.infer<typeof report>;
export const reports = z.strictObject({ reports: z.array(report).max(MAX_ORDERS) });
