/**
 * Accounts: what agents gave to clients and fetched, by image and day, as they tell it, beside what this origin sent.
 *
 *     const ledger = await openLedger({ db, repositoryOf, sentNow, keepMs, log });
 *     registerAccounts(app, ledger, { guard, repositoryOf, tagsOf });
 *     await ledger.close();
 *
 * Who wants the sums without the API takes `reportOf(ledger, …)`: by day and by image, over a number of days.
 */
export { openLedger } from './ledger.ts';
export { registerAccounts } from './routes.ts';
export { tagsOf } from './tags.ts';
