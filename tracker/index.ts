/**
 * The tracker: who has what. Standard BitTorrent announce and scrape over HTTP and UDP, only for
 * blobs that an origin holds, and the inventories of agents. It keeps its state in memory; agents
 * tell theirs again to a tracker that was restarted.
 *
 *     const tracker = createTracker({ admit: async () => ({ seeds: [] }), log, metrics });
 *     tracker.register(app);                                      // embedded in an HTTP listener
 *     await tracker.listenUdp({ host: '127.0.0.1', port: 6969 }); // beside it, if wanted
 *     await tracker.close();
 */
export type { Admit, Admitted } from './admission.ts';
export { type RunningTracker, startTracker, type TrackerConfig } from './start.ts';
export { createTracker, type Tracker, type TrackerOptions } from './tracker.ts';
