/**
 * Going on while origin and tracker are out: manifests, metainfo and members from other agents. Off by default; then
 * nothing of it is loaded.
 */
export { createAnswers } from './answers.ts';
export { type Asks, createAsks, type Offer } from './asks.ts';
export { keepMembers } from './known.ts';
export { registerTrackerlessMetrics } from './metrics.ts';
export type { DiscoveryConfig } from './options.ts';
export { recentlyHeld } from './recent.ts';
