/**
 * The agent's own account: bytes by image and day, counted in memory and written a few seconds later. A crash loses
 * what was counted since; what is told to origins was written before.
 */
import type { Database } from '#database';
import type { Digest } from '#oci';
import {
  type Account,
  type AccountRow,
  dayOf,
  emptyAccount,
  type FETCHED,
  MAX_IMAGES_A_DAY,
  OPEN_DAYS,
  storedAccount,
} from '#orders';
import type { Logger } from '#telemetry';
import type { MirrorSource } from '../metrics.ts';
import { formatRepository, type Repository } from '../repository.ts';
import { createImages, type Images } from './images.ts';

export type FetchSource = (typeof FETCHED)[number];

/** What is counted of one blob. Each call costs an addition. */
export interface Tally {
  /** A client took so many bytes. */
  served(source: MirrorSource, bytes: number): void;
  fetched(source: FetchSource, bytes: number): void;
  /** All of the blob came to the cache, in so much time. */
  cached(ms: number): void;
}

export interface Ledger extends Pick<Images, 'asked'> {
  of(repository: Repository, digest: Digest): Tally;
  rows(): AccountRow[];
  /** Writes what was counted. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** What a crash loses at most, in time. */
const FLUSH_MS = 5_000;
const DAY_MS = 86_400_000;
/** Between the parts of a key: in no repository, and before all that may be in one. */
const BETWEEN = ' ';

interface Row extends Account {
  readonly key: string;
  readonly day: string;
  readonly repository: string | null;
  readonly image: string | null;
}

export async function openLedger(options: {
  readonly db: Database;
  /** These rows are on the disk as they are told. */
  readonly onWritten: (rows: readonly AccountRow[]) => void;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly log: Logger;
}): Promise<Ledger> {
  const { db, onWritten, log } = options;
  const now = options.now ?? Date.now;
  const kept = db.sublevel<string, unknown>('accounts', { valueEncoding: 'json' });
  const rows = new Map<string, Row>();
  const images = createImages();
  let changed = new Set<Row>();
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  let today = '';
  let startsAt = 0;
  let endsAt = 0;
  let imagesToday = 0;

  const keyOf = (day: string, repository: string | null, image: string | null): string =>
    [day, repository ?? '', image ?? ''].join(BETWEEN);

  /** Days that no origin takes any more are forgotten. */
  const dropOld = async (): Promise<void> => {
    const oldest = dayOf(now(), OPEN_DAYS - 1);
    for (const [key, { day }] of rows) if (day < oldest) rows.delete(key);
    await kept.clear({ lt: oldest });
  };
  await dropOld();
  for await (const [key, value] of kept.iterator()) {
    const [day = '', repository = '', image = ''] = key.split(BETWEEN);
    const account = storedAccount.safeParse(value);
    if (!account.success) continue;
    rows.set(key, { key, day, repository: repository || null, image: image || null, ...account.data });
  }

  const turnDay = (): void => {
    today = dayOf(now());
    startsAt = Date.parse(today);
    endsAt = startsAt + DAY_MS;
    imagesToday = [...rows.values()].filter(({ day }) => day === today).length;
    writing = writing
      .then(dropOld)
      .catch((error: unknown) => log.warn({ err: error }, 'old accounts were not removed'));
  };

  const rowOf = (repository: string, image: Digest | undefined): Row => {
    const known = rows.get(keyOf(today, repository, image ?? null));
    if (known !== undefined) return known;
    const named = imagesToday < MAX_IMAGES_A_DAY;
    const row = {
      ...{ day: today, repository: named ? repository : null, image: (named && image) || null },
      ...emptyAccount(),
    };
    const key = keyOf(row.day, row.repository, row.image);
    const made = rows.get(key) ?? { key, ...row };
    if (rows.has(key)) return made;
    imagesToday += 1;
    rows.set(key, made);
    return made;
  };

  const write = async (): Promise<void> => {
    const batch = [...changed];
    changed = new Set();
    if (batch.length === 0) return;
    const told = batch.map(({ key, ...row }) => ({
      ...row,
      served: { ...row.served },
      fetched: { ...row.fetched },
    }));
    try {
      await db.batch(
        batch.map(({ key }, at) => {
          const { served, fetched, blobs, blobMs } = told[at] ?? emptyAccount();
          const value: unknown = { served, fetched, blobs, blobMs };
          return { type: 'put', sublevel: kept, key, value: value as never } as const;
        }),
        { sync: true },
      );
      onWritten(told);
    } catch (error) {
      for (const row of batch) changed.add(row);
      log.warn({ err: error }, 'the account of bytes was not written; it is tried again');
    }
  };
  const flush = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    writing = writing.then(write);
    return writing;
  };
  const note = (row: Row): void => {
    changed.add(row);
    timer ??= setTimeout(() => void flush(), FLUSH_MS).unref();
  };

  return {
    asked: images.asked,
    of(repository, digest) {
      const name = formatRepository(repository);
      let row: Row | undefined;
      const current = (): Row => {
        const at = now();
        if (at >= endsAt || at < startsAt) turnDay();
        if (row?.day !== today) row = rowOf(name, images.of(name, digest));
        note(row);
        return row;
      };
      return {
        served(source, bytes) {
          current().served[source] += bytes;
        },
        fetched(source, bytes) {
          if (bytes > 0) current().fetched[source] += bytes;
        },
        cached(ms) {
          const account = current();
          account.blobs += 1;
          account.blobMs += Math.round(ms);
        },
      };
    },
    rows: () => Array.from(rows.values(), ({ key, ...row }) => row),
    flush,
    async close() {
      await flush();
    },
  };
}
