/**
 * Accounts: what this node gave to its clients and fetched, by image and day, kept here for three days and told to
 * every origin, which adds them up (see src/orders/accounts.ts).
 *
 *     const accounts = await openAccounts({ db, log });
 *     accounts.of(repository, digest).served('cache', bytes);
 *     accounts.tell({ origins, node, http });
 *     await accounts.close(); // what was counted is on the disk, and told where an origin answers
 */
import type { Database } from '#database';
import type { Each, Endpoints } from '#endpoints';
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import { type Ledger, openLedger, type Tally } from './ledger.ts';
import { type Telling, tellOrigin } from './telling.ts';

export type { Tally };

export interface Accounts extends Pick<Ledger, 'of' | 'asked'> {
  /** From now on. `node`: our peer id, which stays the same over restarts. */
  tell(options: { readonly origins: Endpoints; readonly node: string; readonly http: HttpClient }): void;
  close(): Promise<void>;
}

export async function openAccounts(options: {
  readonly db: Database;
  readonly log: Logger;
}): Promise<Accounts> {
  const { db, log } = options;
  let tellings: Each<Telling> | undefined;
  const ledger = await openLedger({
    ...{ db, log },
    onWritten: (rows) => {
      for (const telling of tellings?.values() ?? []) telling.changed(rows);
    },
  });
  return {
    of: ledger.of,
    asked: ledger.asked,
    tell({ origins, node, http }) {
      tellings = origins.each(
        (origin) => {
          const telling = tellOrigin({ origin, node, http, log });
          // An origin may have lost some of what it was told before; to say it again changes nothing else.
          telling.changed(ledger.rows());
          return telling;
        },
        (telling) => telling.close(),
      );
    },
    async close() {
      await ledger.close();
      await Promise.all((tellings?.values() ?? []).map((telling) => telling.close()));
    },
  };
}
