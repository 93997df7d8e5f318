/**
 * Where peers come from. A member joins the swarm of a blob that it downloads, and holds the
 * blobs that it can seed. Holding costs nothing per blob: the inventory goes to the tracker as
 * one list, and changes to it in batches.
 */
export { createCombinedDiscovery } from './combined.ts';
export { askCopies } from './copies.ts';
export {
  createOverlayDiscovery,
  type Held,
  haveQuestion,
  providerKey,
} from './overlay-discovery.ts';
export type { Discovery, Membership } from './port.ts';
export { createStaticDiscovery } from './static.ts';
export { createTrackerDiscovery, type TrackerDiscoveryOptions } from './tracker-client.ts';
