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
import type { HttpClient } from '#http';
import type { Logger } from '#telemetry';
import { type Ledger, openLedger, type Tally } from './ledger.ts';
import { type Telling, tellOrigin } from './telling.ts';

export type { Tally };

export interface Accounts extends Pick<Ledger, 'of' | 'asked'> {
  /** From now on. `node`: our peer id, which stays the same over restarts. */
  tell(options: {
    readonly origins: readonly string[];
    readonly node: string;
    readonly http: HttpClient;
  }): void;
  close(): Promise<void>;
}

export async function openAccounts(options: {
  readonly db: Database;
  readonly log: Logger;
}): Promise<Accounts> {
  const { db, log } = options;
  let tellings: readonly Telling[] = [];
  const ledger = await openLedger({
    ...{ db, log },
    onWritten: (rows) => {
      for (const telling of tellings) telling.changed(rows);
    },
  });
  return {
    of: ledger.of,
    asked: ledger.asked,
    tell({ origins, node, http }) {
      tellings = origins.map((origin) => tellOrigin({ origin, node, http, log }));
      // An origin may have lost some of what it was told before; to say it again changes nothing else.
      for (const telling of tellings) telling.changed(ledger.rows());
    },
    async close() {
      await ledger.close();
      await Promise.all(tellings.map((telling) => telling.close()));
    },
  };
}
