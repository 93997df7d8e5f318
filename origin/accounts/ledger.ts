/**
 * What agents tell, added up by image and day, and what this origin itself sent. Of each agent only what it told for
 * the last days is kept, so that a row told twice counts once; older days are sums alone.
 *
 * Reports that come while others are being written wait for one write together: it is synced before they are answered.
 */

import { z } from 'zod';
import { createBoundedMap } from '#bounded';
import { type Database, inBatches } from '#database';
import { ProblemError } from '#http';
import {
  type Account,
  type AccountRow,
  dayOf,
  emptyAccount,
  FETCHED,
  MAX_IMAGES_A_DAY,
  OPEN_DAYS,
  SERVED,
  storedAccount,
} from '#orders';
import type { Logger } from '#telemetry';

/** The account of one image on one day, over all agents. */
export interface ImageDay extends Account {
  readonly day: string;
  readonly repository: string | null;
  readonly image: string | null;
  /** Agents that told of it. */
  readonly nodes: number;
}

/** Blob payload that this origin sent on one day, to agents and to anybody else. */
export interface SentDay {
  readonly day: string;
  readonly http: number;
  readonly swarm: number;
}

export interface Ledger {
  /** Durable when it resolves. @throws ProblemError 503, 507 */
  take(node: string, rows: readonly AccountRow[]): Promise<{ nextSeconds: number; oldestDay: string }>;
  /** From this day on, by day. */
  images(from: string): AsyncIterable<readonly ImageDay[]>;
  sent(from: string): Promise<SentDay[]>;
  close(): Promise<void>;
}

const MAX_NODES_A_DAY = 20_000;
/** Images of one day over all agents; what is beyond is counted without a name. */
const MAX_IMAGES_OF_ALL = 5_000;
const MAX_WAITING = 2_000;
const REPORTS_A_WRITE = 100;
const OWN_EACH_MS = 5_000;
const PRUNE_EACH_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** Reports a second that this origin wants in all, while all agents are busy. */
const REPORTS_PER_SECOND = 100;
const LEAST_SECONDS = 5;
const MOST_SECONDS = 300;
const KEPT_NAMES = 2_000;
const BETWEEN = ' ';

const storedImage = storedAccount.extend({ nodes: z.int().min(0) });
type StoredImage = z.infer<typeof storedImage>;
/** By repository and image, the counters of `toList`. */
const storedAgent = z.record(z.string(), z.array(z.int().min(0)));
type StoredAgent = z.infer<typeof storedAgent>;
const storedSent = z.object({ http: z.int().min(0), swarm: z.int().min(0) });

interface Waiting {
  readonly node: string;
  readonly rows: readonly AccountRow[];
  readonly done: PromiseWithResolvers<void>;
}

const toList = ({ served, fetched, blobs, blobMs }: Account): number[] => [
  ...SERVED.map((source) => served[source]),
  ...FETCHED.map((source) => fetched[source]),
  blobs,
  blobMs,
];

function toAccount(list: readonly number[]): Account {
  const account = emptyAccount();
  SERVED.forEach((source, at) => {
    account.served[source] = list[at] ?? 0;
  });
  FETCHED.forEach((source, at) => {
    account.fetched[source] = list[SERVED.length + at] ?? 0;
  });
  const [blobs = 0, blobMs = 0] = list.slice(SERVED.length + FETCHED.length);
  return { ...account, blobs, blobMs };
}

export function addTo(sum: Account, other: Account): void {
  for (const source of SERVED) sum.served[source] += other.served[source];
  for (const source of FETCHED) sum.fetched[source] += other.fetched[source];
  sum.blobs += other.blobs;
  sum.blobMs += other.blobMs;
}

export async function openLedger(options: {
  readonly db: Database;
  /** The repository here that is meant by the name that clients use; undefined: none. */
  readonly repositoryOf: (name: string) => Promise<string | undefined>;
  /** Blob payload that was sent since the start. */
  readonly sentNow: () => { readonly http: number; readonly swarm: number };
  readonly keepMs: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly log: Logger;
}): Promise<Ledger> {
  const { db, log } = options;
  const now = options.now ?? Date.now;
  const table = (name: string) => db.sublevel<string, unknown>(`account-${name}`, { valueEncoding: 'json' });
  const [images, agents, own] = [table('images'), table('agents'), table('origin')];
  const names = createBoundedMap<string, string>(KEPT_NAMES);
  const nodesOf = new Map<string, Set<string>>();
  const imagesOf = new Map<string, Set<string>>();
  const waiting: Waiting[] = [];
  let writing: Promise<void> | undefined;
  let counted = { http: 0, swarm: 0 };

  const oldestDay = (): string => dayOf(now(), OPEN_DAYS - 1);
  const setOf = (sets: Map<string, Set<string>>, day: string): Set<string> => {
    const known = sets.get(day) ?? new Set();
    sets.set(day, known);
    return known;
  };
  const prune = async (): Promise<void> => {
    const oldest = oldestDay();
    for (const sets of [nodesOf, imagesOf]) for (const day of sets.keys()) if (day < oldest) sets.delete(day);
    await agents.clear({ lt: oldest });
    const kept = dayOf(now() - options.keepMs);
    for (const old of [images, own]) await old.clear({ lt: kept });
  };

  await prune();
  for await (const keys of inBatches(agents.keys())) {
    for (const key of keys) setOf(nodesOf, key.slice(0, 10)).add(key.slice(11));
  }
  for await (const keys of inBatches(images.keys({ gte: oldestDay() }))) {
    for (const key of keys) setOf(imagesOf, key.slice(0, 10)).add(key);
  }

  const nameHere = async (told: string | null): Promise<string | null> => {
    if (told === null) return null;
    const known = names.get(told);
    if (known !== undefined) return known;
    const found = await options.repositoryOf(told);
    if (found !== undefined) names.set(told, found);
    return found ?? told;
  };

  const keyOf = async ({ day, repository, image }: AccountRow): Promise<string> => {
    const key = [day, (await nameHere(repository)) ?? '', image ?? ''].join(BETWEEN);
    const known = setOf(imagesOf, day);
    if (known.has(key)) return key;
    const chosen = known.size < MAX_IMAGES_OF_ALL ? key : [day, '', ''].join(BETWEEN);
    known.add(chosen);
    return chosen;
  };

  /** Adds what is new in these reports to the sums, in one batch. */
  const write = async (reports: readonly Waiting[]): Promise<void> => {
    const oldest = oldestDay();
    const told = new Map<string, StoredAgent>();
    const sums = new Map<string, StoredImage>();
    for (const { node, rows } of reports) {
      for (const row of rows) {
        if (row.day < oldest) continue;
        const agentKey = `${row.day}${BETWEEN}${node}`;
        const mine = told.get(agentKey) ?? storedAgent.catch({}).parse((await agents.get(agentKey)) ?? {});
        told.set(agentKey, mine);
        const name = `${row.repository ?? ''}${BETWEEN}${row.image ?? ''}`;
        const before = mine[name];
        // More than an agent keeps of a day: it is not one of ours.
        if (before === undefined && Object.keys(mine).length > MAX_IMAGES_A_DAY) continue;
        const after = toList(row).map((value, at) => Math.max(value, before?.[at] ?? 0));
        mine[name] = after;
        const key = await keyOf(row);
        const sum =
          sums.get(key) ??
          storedImage.catch({ ...emptyAccount(), nodes: 0 }).parse((await images.get(key)) ?? null);
        addTo(sum, toAccount(after.map((value, at) => value - (before?.[at] ?? 0))));
        if (before === undefined) sum.nodes += 1;
        sums.set(key, sum);
        setOf(nodesOf, row.day).add(node);
      }
    }
    if (told.size === 0) return;
    const puts = (sublevel: typeof images, values: ReadonlyMap<string, unknown>) =>
      Array.from(values, ([key, value]) => ({ type: 'put', sublevel, key, value: value as never }) as const);
    await db.batch([...puts(agents, told), ...puts(images, sums)], { sync: true });
  };

  const run = async (): Promise<void> => {
    for (;;) {
      const reports = waiting.splice(0, REPORTS_A_WRITE);
      if (reports.length === 0) return;
      try {
        await write(reports);
        for (const { done } of reports) done.resolve();
      } catch (error) {
        for (const { done } of reports) done.reject(error);
      }
    }
  };

  const countOwn = async (): Promise<void> => {
    const sent = options.sentNow();
    const more = { http: sent.http - counted.http, swarm: sent.swarm - counted.swarm };
    if (more.http === 0 && more.swarm === 0) return;
    counted = { ...sent };
    const day = dayOf(now());
    const before = storedSent.catch({ http: 0, swarm: 0 }).parse((await own.get(day)) ?? null);
    const value: unknown = { http: before.http + more.http, swarm: before.swarm + more.swarm };
    await db.batch([{ type: 'put', sublevel: own, key: day, value: value as never }], { sync: true });
  };
  let ownWrites: Promise<void> = Promise.resolve();
  const complain = (error: unknown): void => log.warn({ err: error }, 'accounts could not be written');
  const flushOwn = (): Promise<void> => {
    ownWrites = ownWrites.then(countOwn).catch(complain);
    return ownWrites;
  };
  const ownTimer = setInterval(() => void flushOwn(), OWN_EACH_MS).unref();
  const pruneTimer = setInterval(() => void prune().catch(complain), PRUNE_EACH_MS).unref();

  return {
    async take(node, rows) {
      const tomorrow = dayOf(now() + DAY_MS);
      if (rows.some(({ day }) => day > tomorrow)) {
        throw new ProblemError(400, 'Bad Request', `a day after ${tomorrow}: do the clocks agree?`);
      }
      if (waiting.length >= MAX_WAITING) {
        throw new ProblemError(503, 'Service Unavailable', 'too many accounts at once; try again');
      }
      for (const { day } of rows) {
        const nodes = nodesOf.get(day);
        if (nodes === undefined || nodes.has(node) || nodes.size < MAX_NODES_A_DAY) continue;
        throw new ProblemError(507, 'Insufficient Storage', `${MAX_NODES_A_DAY} nodes told of ${day}`);
      }
      const done = Promise.withResolvers<void>();
      waiting.push({ node, rows, done });
      writing ??= run().finally(() => {
        writing = undefined;
      });
      await done.promise;
      const nodes = nodesOf.get(dayOf(now()))?.size ?? 0;
      const nextSeconds = Math.min(MOST_SECONDS, Math.max(LEAST_SECONDS, nodes / REPORTS_PER_SECOND));
      return { nextSeconds, oldestDay: oldestDay() };
    },
    async *images(from) {
      for await (const entries of inBatches(images.iterator({ gte: from }))) {
        yield entries.flatMap(([key, value]) => {
          const stored = storedImage.safeParse(value);
          const [day = '', repository = '', image = ''] = key.split(BETWEEN);
          const named = { day, repository: repository || null, image: image || null };
          return stored.success ? [{ ...named, ...stored.data }] : [];
        });
      }
    },
    async sent(from) {
      await flushOwn();
      const days: SentDay[] = [];
      for await (const [day, value] of own.iterator({ gte: from })) {
        const stored = storedSent.safeParse(value);
        if (stored.success) days.push({ day, ...stored.data });
      }
      return days;
    },
    async close() {
      clearInterval(ownTimer);
      clearInterval(pruneTimer);
      await writing;
      await flushOwn();
    },
  };
}
