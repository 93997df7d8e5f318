/**
 * Garbage collection, continuous and without a pause for anybody: what no client was told about for a
 * lease, and nothing refers to, goes; tags go by the rules that are configured.
 *
 *     const collector = createCollector(config, { metadata, blobs, torrents, swarm, perDigest, metrics, log });
 *     collector.start();
 *     await collector.run({ dryRun: true }); // what would go now
 *     await collector.close();
 */
export { registerCollectionApi } from './api.ts';
export { type CollectionConfig, type Collector, createCollector, DEFAULT_COLLECTION } from './collector.ts';
export type { PassReport, Removed } from './report.ts';
export type { KeepLast, MaxAge } from './tag-rules.ts';
