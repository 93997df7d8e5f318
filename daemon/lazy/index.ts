/**
 * Lazy reads: small ranges of blobs that are not here, as lazy-pulling snapshotters (stargz, SOCI, nydus)
 * ask for them. Only the 16 KiB leaves that a range touches come from the origin, each checked by its
 * hash before it is given out; a reader that goes on where it stopped finds the next ones here already.
 */
export type { LazyBlob } from './lazy-blob.ts';
export { createLazyReads, DEFAULT_LAZY, type LazyLimits, type LazyReads } from './lazy-reads.ts';
