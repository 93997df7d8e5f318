/**
 * Hashing off the event loop, in a small pool of worker threads that read the files themselves,
 * so no blob byte crosses a thread boundary.
 */
export { createHashing, type DigestFollower, type Hashing } from './hashing.ts';
export { leafHasher } from './leaf-hasher.ts';
export type { LeafHashes } from './protocol.ts';
