/**
 * Scrubbing of a running origin: every byte is looked at, what is bad is set aside and fetched again
 * from the members of the swarm that still have it.
 *
 *     const scrubber = createScrubber({ folder, blobs, metadata, catalog, perDigest, swarm, tracker, metrics, log });
 *     scrubber.start();
 *     scrubber.state().problems;
 *     await scrubber.close();
 */
export { registerScrubApi } from './api.ts';
export { createScrubber, type Scrubber, type ScrubState } from './scrub.ts';
