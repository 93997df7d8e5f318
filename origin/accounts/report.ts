/** What the account says: sums by image and by day. Pure, but for reading the rows. */
import { type Account, emptyAccount, FETCHED } from '#orders';
import { addTo, type ImageDay, type Ledger, type SentDay } from './ledger.ts';

export interface Line extends Omit<Account, 'blobMs'> {
  /** Sum of the times that fetching took. */
  readonly blobSeconds: number;
  /** Came from other agents: direct pulls would have taken it from the origin. */
  readonly savedBytes: number;
  /** Of the bytes that agents fetched, the share that came from the origin; 1 is as direct pulls. Null: none were fetched. */
  readonly egressRatio: number | null;
  /** In which the origin, at the rate that was asked for, would have sent `savedBytes`. */
  readonly savedSeconds: number | null;
}

interface ImageLine extends Line {
  readonly repository: string | null;
  /** The image manifest's. */
  readonly digest: string | null;
  /** That name it here now. */
  readonly tags: readonly string[];
  /** On the day with most of them. */
  readonly nodes: number;
  readonly days: readonly (Line & { readonly day: string; readonly nodes: number })[];
}

export interface AccountReport {
  readonly from: string;
  readonly to: string;
  readonly originBytesPerSecond: number | null;
  readonly total: Line & { readonly origin: { readonly http: number; readonly swarm: number } | null };
  readonly days: readonly (Line & { readonly day: string; readonly origin: SentDay | null })[];
  /** Those with most bytes first. */
  readonly images: readonly ImageLine[];
  /** Images that are in the sums and not in the list. */
  readonly moreImages: number;
}

interface ImageSum {
  readonly repository: string | null;
  readonly digest: string | null;
  readonly sum: Account;
  readonly days: ImageDay[];
}

export async function reportOf(
  ledger: Pick<Ledger, 'images' | 'sent'>,
  options: {
    readonly from: string;
    readonly to: string;
    readonly repository: string | undefined;
    readonly mostImages: number;
    readonly originBytesPerSecond: number | undefined;
    readonly tagsOf: (repository: string) => Promise<ReadonlyMap<string, readonly string[]>>;
  },
): Promise<AccountReport> {
  const { from, to, repository, originBytesPerSecond: rate } = options;
  const images = new Map<string, ImageSum>();
  const days = new Map<string, Account>();
  const total = emptyAccount();
  for await (const rows of ledger.images(from)) {
    for (const row of rows) {
      if (row.day > to || (repository !== undefined && row.repository !== repository)) continue;
      const key = `${row.repository ?? ''} ${row.image ?? ''}`;
      const image = images.get(key) ?? {
        ...{ repository: row.repository, digest: row.image, sum: emptyAccount(), days: [] },
      };
      images.set(key, image);
      const day = days.get(row.day) ?? emptyAccount();
      days.set(row.day, day);
      for (const sum of [image.sum, day, total]) addTo(sum, row);
      image.days.push(row);
    }
  }
  // The origin's own account knows no repositories.
  const sent = repository === undefined ? await ledger.sent(from) : undefined;
  for (const { day } of sent ?? []) if (day <= to && !days.has(day)) days.set(day, emptyAccount());
  const sorted = [...images.values()].sort((a, b) => bytesOf(b.sum) - bytesOf(a.sum));
  const shown = sorted.slice(0, options.mostImages);
  const tags = new Map<string, ReadonlyMap<string, readonly string[]>>();
  for (const { repository: name } of shown) {
    if (name !== null && !tags.has(name)) tags.set(name, await options.tagsOf(name));
  }
  return {
    ...{ from, to, originBytesPerSecond: rate ?? null },
    total: {
      ...lineOf(total, rate),
      origin: sent
        ? { http: sumOf(sent.map(({ http }) => http)), swarm: sumOf(sent.map(({ swarm }) => swarm)) }
        : null,
    },
    days: [...days]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([day, account]) => ({
        day,
        ...lineOf(account, rate),
        origin: sent?.find((own) => own.day === day) ?? null,
      })),
    images: shown.map(({ repository: name, digest, sum, days: each }) => ({
      ...{ repository: name, digest, tags: tags.get(name ?? '')?.get(digest ?? '') ?? [] },
      ...lineOf(sum, rate),
      nodes: Math.max(...each.map(({ nodes }) => nodes)),
      days: each.map((row) => ({ day: row.day, ...lineOf(row, rate), nodes: row.nodes })),
    })),
    moreImages: sorted.length - shown.length,
  };
}

const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
const bytesOf = ({ served, fetched }: Account): number =>
  sumOf(Object.values(served)) + sumOf(Object.values(fetched));

function lineOf(account: Account, rate: number | undefined): Line {
  const { served, fetched, blobs, blobMs } = account;
  const all = sumOf(FETCHED.map((source) => fetched[source]));
  return {
    ...{ served: { ...served }, fetched: { ...fetched }, blobs, blobSeconds: blobMs / 1000 },
    savedBytes: fetched.peer,
    egressRatio: all === 0 ? null : (all - fetched.peer) / all,
    savedSeconds: rate === undefined ? null : fetched.peer / rate,
  };
}
